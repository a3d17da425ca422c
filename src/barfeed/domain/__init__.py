"""What a bar is, and what may be said of it. Pure: the standard library only, no clock, no file, no log."""
