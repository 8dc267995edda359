"""`python -m kerasunet`: the command line."""

import sys

from kerasunet.cli import main

sys.exit(main())
