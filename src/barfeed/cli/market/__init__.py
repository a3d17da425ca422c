"""The commands over a market: which series are meant, and what each command does with all of them."""
