"""One line of `easel doctor`."""

from dataclasses import dataclass

OK, WARN, BAD = "ok", "warn", "bad"


@dataclass(frozen=True)
class Check:
    """`mark` is ok, warn (works, but look) or bad (something would not work)."""

    about: str
    mark: str
    sentence: str
