"""What several tests share: makers of data, probes run as processes, a browser."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
IMPORTS = os.pathsep.join(map(str, (ROOT, ROOT / "tests")))
"""`PYTHONPATH` of a process that runs a probe of this folder."""
_AS_INSTALLED = str(Path(__file__).with_name("as_installed"))
AS_INSTALLED = os.pathsep.join([str(ROOT), _AS_INSTALLED])
"""`PYTHONPATH` of a process that has what users have, so neither JAX nor scikit-learn.

TensorFlow and Keras import the two where the tools of developers brought them, for a second and
more.
Garbage is collected less often than in a process of users, see `sitecustomize.py` there.
"""
