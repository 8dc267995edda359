"""`python scripts/export.py`: the same as `kerasunet export`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("export")
