"""The files of runs: written, read back, and kept for as long as they shall stay."""
