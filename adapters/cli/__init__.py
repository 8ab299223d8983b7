"""The command line: serving, one-shot commands, and the owner's chores.

Nothing heavy is imported before a command runs: `--help` answers at once.
"""

from adapters.cli.app import build, run
from adapters.cli.ports import Chores, Composition, Loaded

__all__ = ["Chores", "Composition", "Loaded", "build", "run"]
