"""What people write on the command line: paths, moments, addresses; as it was meant, or wrong usage."""
