"""`python scripts/panel.py`: the same as `kerasunet panel`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("panel")
