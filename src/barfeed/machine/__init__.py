"""The machine that it runs on: its clock and signals, files that are whole or absent, locks, work in the background."""
