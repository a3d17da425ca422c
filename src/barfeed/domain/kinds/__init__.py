"""Every kind of series beside a bar's five values: what it is, what it must keep, when it could have been known."""
