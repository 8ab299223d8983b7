"""What every command does first and last: load the settings, set up logging, run until done or interrupted."""

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adapters.cli.ports import CompositionRoot, LoadedConfig


@dataclass
class Session:
    """One invocation of the program. `log_file` is set when the settings are loaded."""

    composition: "CompositionRoot"
    log_file: Path | None = field(default=None, init=False)

    def load_config(
        self, config: Path | None, data_dir: Path | None, *, console: bool = False, **settings: object
    ) -> "LoadedConfig":
        """Load the settings and set up logging; `settings` override the variables of the same name.

        Raises: ConfigError.
        """
        from bot.runtime.logs import LogsSettings, set_up_logging
        from bot.settings import log_renamed_settings

        set_data_dir(data_dir)
        for variable, value in settings.items():
            if value is not None:
                os.environ[f"EASEL_{variable.upper()}"] = str(value)
        loaded = self.composition.load(config)
        name = "easel" if console else "commands"
        set_up_logging(
            loaded.settings.get("logs", LogsSettings()),
            data_dir=loaded.data_dir,
            secrets=loaded.secrets.values(),
            name=name,
            console=sys.stderr if console else None,
        )
        log_renamed_settings(loaded.renamed)
        self.log_file = loaded.data_dir / "logs" / f"{name}.log"
        return loaded


def set_data_dir(data_dir: Path | None) -> None:
    if data_dir is not None:
        os.environ["EASEL_DATA_DIR"] = str(data_dir.expanduser().absolute())


def run_until_done(work: Coroutine[Any, Any, int]) -> int:
    """Run `work` and return its exit code; 130 or 143 when a signal cancelled it and it has cleaned up."""
    return asyncio.run(_with_signals(work))


async def _with_signals(work: Coroutine[Any, Any, int]) -> int:
    task = asyncio.ensure_future(work)
    received: list[int] = []

    def stop(number: int) -> None:
        received.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, stop, number)
        except NotImplementedError:  # Windows: asyncio's own Ctrl-C handling applies
            break
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            return 128 + received[0]
        raise
