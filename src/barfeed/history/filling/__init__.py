"""Filling history in: what is decided on the way, where a symbol ends, and what is told of it."""
