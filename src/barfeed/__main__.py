"""`python -m barfeed` is the `barfeed` command."""

from barfeed.cli import main

if __name__ == "__main__":
    main()
