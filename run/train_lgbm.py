from lgbm_inference.cli import main, train

main(train)
