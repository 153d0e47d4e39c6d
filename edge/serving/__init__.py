"""HTTP/1.1 for the edge where it does no TLS: an ASGI server on one event loop, without a thread of its own.

A request is parsed, handled and answered in the loop's thread. Decision 0024 has what that is worth.
"""
