"""The same job done in the usual ways, each by its own documentation; every peer runs in an environment of its own."""
