"""`python -m lgbm_inference infer|train`."""

from lgbm_inference.cli import main

if __name__ == "__main__":
    main()
