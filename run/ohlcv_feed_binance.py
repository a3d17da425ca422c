try:
    from barfeed.cli.commands.feed.run import run
    from barfeed.cli.main import main
except KeyboardInterrupt:
    # Ctrl-C before there is anybody who could treat it.
    raise SystemExit(130) from None

main(run)
