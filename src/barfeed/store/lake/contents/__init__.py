"""What the store holds of each of a lake's tables: which parts of it changed, and a part as Parquet."""
