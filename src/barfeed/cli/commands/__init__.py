"""One module for each command: flags in, one call into what happens."""
