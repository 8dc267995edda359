"""`python scripts/evaluate.py`: the same as `kerasunet evaluate`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("evaluate")
