"""Kinds of series in the store: a table a kind and interval, written as bars are."""
