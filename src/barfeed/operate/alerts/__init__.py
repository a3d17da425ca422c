"""Trouble, told to people: once each, over any channel, and remembered across processes."""
