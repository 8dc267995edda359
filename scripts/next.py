"""`python scripts/next.py`: the same as `kerasunet next`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("next")
