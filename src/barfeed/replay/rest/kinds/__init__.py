"""The endpoints of what a symbol has beside its klines, each with its own ways and its own limit."""
