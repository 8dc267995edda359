"""`python scripts/demo.py`: the same as `kerasunet demo`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("demo")
