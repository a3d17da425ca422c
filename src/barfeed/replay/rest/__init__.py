"""What the replay exchange answers to a request."""
