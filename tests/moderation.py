"""What decides in tests' houses: the real thing over their storage, or one that lets everything pass."""

from pathlib import Path
from typing import Any

from bot.safety import SafetySettings, read_words
from bot.usecases import Moderation
from storage import Storage

SOME_WEIGHTS = str(Path(__file__).resolve().parents[1] / "models" / "starter-image")
"""Taken for a classifier that is here: the made-up engines look at nothing."""


class Here:
    """A classifier that may go away."""

    def __init__(self, *, is_here: bool = True) -> None:
        self.found = is_here

    async def is_here(self) -> bool:
        return self.found


def moderation_of(storage: Storage, **settings: Any) -> Moderation:
    made = SafetySettings(**settings)
    words = read_words(made.blocked_words, made.blocked_words_file, Path())
    return Moderation(spaces=storage.spaces, people=storage.people, classifier=Here(), settings=made, words=words)


class Unmoderated:
    """Everything may be asked for and shown."""

    async def check(self, *_: Any) -> None: ...

    async def rules_of(self, *_: Any) -> None: ...

    async def may_show(self, *_: Any) -> bool:
        return True

    def heard(self, _described: Any) -> None: ...

    def judged(self, done: Any, _rules: Any) -> Any:
        return done
