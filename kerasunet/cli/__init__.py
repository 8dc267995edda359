"""The command line: `kerasunet VERB …`, one module a verb."""

from kerasunet.cli.main import main

__all__ = ["main"]
