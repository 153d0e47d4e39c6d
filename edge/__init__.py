"""The edge: collects events over HTTP, answers with decisions, and pushes newer ones to the page."""
