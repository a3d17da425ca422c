"""What can go wrong on the replay exchange, by script, and what that does to an answer."""
