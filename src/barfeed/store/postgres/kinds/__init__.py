"""Kinds of series in a database: a table a kind and interval, made when the first row of it comes."""
