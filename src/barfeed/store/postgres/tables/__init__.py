"""What stands in a database, and the statements that read and write it."""
