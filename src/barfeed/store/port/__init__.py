"""What the feed needs of a store, and the DuckDB file as one; a server is in a folder of its own."""
