"""A whole history from one store into another, a DuckDB file or a database, and proven equal there."""
