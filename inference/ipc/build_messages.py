"""The messages to the process that makes a compiled build. It answers with the values of `bot.ports.builds`."""

from dataclasses import dataclass

from bot.ports import BuildRequest


@dataclass(frozen=True, kw_only=True)
class MakeBuild:
    """`folder`: of all builds. `threads`: 0: torch's default."""

    request: BuildRequest
    folder: str
    threads: int = 0


@dataclass(frozen=True)
class SetPaused:
    """Whether it has to wait, because people's jobs are running."""

    is_paused: bool
