"""`python scripts/adapt.py`: the same as `kerasunet adapt`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("adapt")
