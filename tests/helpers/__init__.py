"""What several tests share: makers of data, probes run as processes, a browser."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORTS = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
"""`PYTHONPATH` of a process that runs a probe of this folder."""
