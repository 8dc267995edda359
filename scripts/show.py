"""`python scripts/show.py`: the same as `kerasunet show`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("show")
