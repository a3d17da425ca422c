"""What is wrong with a store that cannot be used, told in words of our own."""
