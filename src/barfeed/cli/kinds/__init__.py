"""Commands as they are of other kinds of series than bars."""
