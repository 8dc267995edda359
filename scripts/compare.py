"""`python scripts/compare.py`: the same as `kerasunet compare`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("compare")
