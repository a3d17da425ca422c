"""The history of other kinds of series than bars: filled in, proven against its sources, taken from others' stores."""
