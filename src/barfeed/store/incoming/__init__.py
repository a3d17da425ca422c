"""What others wrote, on its way in: files and tables of any program, named for what is wrong with them."""
