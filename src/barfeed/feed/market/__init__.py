"""One pass over every series that is fed together: one clock, one list, one transaction, one table."""
