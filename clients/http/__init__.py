"""Calling other people's HTTP servers through the egress guard: `call.send` is the one way out."""
