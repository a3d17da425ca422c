"""The history: bars in a DuckDB file, and both versions of each that was ever changed."""
