"""`python main.py` and `easel`: hands over to the command line."""

import sys


def main() -> int:
    """Returns the exit code."""
    from adapters.cli import run
    from composition.local import Composition

    return run(Composition())


if __name__ == "__main__":
    sys.exit(main())
