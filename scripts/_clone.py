"""Run a verb of this clone's own `kerasunet`: what every script in this folder does."""

import sys
from pathlib import Path

_SCRIPTS = Path(__file__).resolve().parent
# The clone first; this folder last, because `models` and others of its names are common.
_others = [path for path in sys.path if path != str(_SCRIPTS)]
sys.path[:] = [str(_SCRIPTS.parent), *_others, str(_SCRIPTS)]

try:
    from kerasunet.cli import main
except KeyboardInterrupt:  # As `kerasunet.__main__` does.
    sys.exit(130)


def run(verb: str) -> None:
    """Run a verb with the arguments of the script, and exit with its status."""
    sys.exit(main([verb, *sys.argv[1:]]))
