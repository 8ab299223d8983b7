"""The command line: the server, one-shot commands and the owner's administrative commands.

Nothing heavy is imported before a command runs, so `--help` is fast.
"""

from adapters.cli.app import build_cli, run_cli
from adapters.cli.ports import CompositionRoot, DatabaseAdmin, LoadedConfig

__all__ = ["CompositionRoot", "DatabaseAdmin", "LoadedConfig", "build_cli", "run_cli"]
