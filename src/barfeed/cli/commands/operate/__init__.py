"""The commands of whoever keeps a feed running."""
