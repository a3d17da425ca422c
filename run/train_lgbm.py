try:
    from lgbm_inference.cli import main, train
except KeyboardInterrupt:
    # Ctrl-C before there is anybody who could treat it.
    raise SystemExit(130) from None

main(train)
