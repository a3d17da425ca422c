"""What is wrong with stored bars, mended on the exchange's word and a person's yes."""
