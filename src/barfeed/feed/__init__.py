"""The hour: one cycle, what it records, and the watch that starts one after the other."""
