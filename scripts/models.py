"""`python scripts/models.py`: the same as `kerasunet models`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("models")
