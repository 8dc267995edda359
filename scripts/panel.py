"""`python scripts/panel.py`: the same as `kerasunet panel`, run from a clone."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kerasunet.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(["panel", *sys.argv[1:]]))
