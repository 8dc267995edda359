"""`python scripts/report.py`: the same as `kerasunet report`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("report")
