"""What is stored of a whole market: verified, repaired and exported by the rules of one series, many at once."""
