from lgbm_inference.cli import infer, main

main(infer)
