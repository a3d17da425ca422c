"""Users' own tables: what keeps one from being a series' table, which constraints refuse a bar, and what mends it."""
