"""One module a command; each has ``main(argv) -> int`` and imports only what it needs."""
