"""Kinds of series beside the bars: what is due is asked for, proven, appended; no trouble of theirs is the bars'."""
