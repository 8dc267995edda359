"""`python scripts/predict.py`: the same as `kerasunet predict`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("predict")
