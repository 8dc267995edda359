"""`python scripts/study.py`: the same as `kerasunet study`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("study")
