"""`python main.py` and `easel`: hands over to the command line."""

import sys


def main() -> int:
    """Returns the exit code."""
    from adapters.cli import run_cli
    from composition.local import Composition

    return run_cli(Composition())


if __name__ == "__main__":
    sys.exit(main())
