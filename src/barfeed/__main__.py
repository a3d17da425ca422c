"""`python -m barfeed` is the `barfeed` command, and what an installed `barfeed` begins with."""

try:
    from barfeed.cli.main import main
except KeyboardInterrupt:
    # Ctrl-C before there is anybody who could treat it.
    raise SystemExit(130) from None

if __name__ == "__main__":
    main()
