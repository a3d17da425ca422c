try:
    from barfeed.cli import main
    from barfeed.commands.run import run
except KeyboardInterrupt:
    # Ctrl-C before there is anybody who could treat it.
    raise SystemExit(130) from None

main(run)
