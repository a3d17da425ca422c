try:
    from lgbm_inference.cli import infer, main
except KeyboardInterrupt:
    # Ctrl-C before there is anybody who could treat it.
    raise SystemExit(130) from None

main(infer)
