"""`python scripts/check.py`: the same as `kerasunet check`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("check")
