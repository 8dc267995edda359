"""`python scripts/finetune.py`: the same as `kerasunet finetune`, run from a clone."""

from _clone import run

if __name__ == "__main__":
    run("finetune")
