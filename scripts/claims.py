"""`python scripts/claims.py`: the same as `kerasunet claims`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("claims")
