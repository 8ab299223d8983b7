"""Moderation for tests: a classifier that may be missing, and a policy that allows everything."""

from pathlib import Path
from typing import Any

from bot.safety import Verdict

SOME_WEIGHTS = str(Path(__file__).resolve().parents[1] / "models" / "starter-image")
"""Stands in for an installed classifier: the fake engines check nothing."""


class FakeClassifierAvailability:
    """A classifier that may be missing."""

    def __init__(self, *, is_installed: bool = True) -> None:
        self.installed = is_installed

    async def is_installed(self) -> bool:
        return self.installed


class Unmoderated:
    """Allows every request and every result."""

    async def check_request(self, *_: Any) -> None: ...

    async def check_authors(self, *_: Any) -> None: ...

    async def rules_for(self, *_: Any) -> None: ...

    async def check_written(self, *_: Any) -> None: ...

    async def check_caption(self, *_: Any) -> None: ...

    async def check_words(self, *_: Any) -> None: ...

    async def judge_again(self, *_: Any) -> Verdict:
        return Verdict.SHOW

    def on_model_loaded(self, _described: Any) -> None: ...

    def apply_rules(self, done: Any, _rules: Any) -> Any:
        return done
