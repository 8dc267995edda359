"""`python scripts/push.py`: the same as `kerasunet push`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("push")
