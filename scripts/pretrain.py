"""`python scripts/pretrain.py`: the same as `kerasunet pretrain`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("pretrain")
