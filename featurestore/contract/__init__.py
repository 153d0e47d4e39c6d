"""The event contract: what a click is, how it is read, how ids are hashed."""
