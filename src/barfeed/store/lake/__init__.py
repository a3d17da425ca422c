"""The lake: everything stored, once more as Parquet, for any engine and any number of readers at any time."""
