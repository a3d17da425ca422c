"""Passes over a whole market: warm, cold, with ever more rows in the store, every minute."""
