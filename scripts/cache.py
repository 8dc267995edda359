"""`python scripts/cache.py`: the same as `kerasunet cache`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("cache")
