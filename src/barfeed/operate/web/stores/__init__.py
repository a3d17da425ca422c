"""The store behind the page, a file or a database: what it is called, whether it changed, and what was read of it."""
