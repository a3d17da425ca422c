"""Every series that is fed together: which symbols are meant, what the exchange listed when, what is due of each."""
