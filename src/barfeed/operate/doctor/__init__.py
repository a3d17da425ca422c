"""Whether everything that a feed stands on is there: looked at all at once, judged line by line, within seconds."""
