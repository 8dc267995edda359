"""`python -m kerasunet` and the program `kerasunet`: the command line."""

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run the command line as `kerasunet.cli.main` does, and end quietly while that is imported."""
    try:
        from kerasunet.cli import main as run
    except KeyboardInterrupt:
        return 130
    return run(arguments)


if __name__ == "__main__":
    sys.exit(main())
