"""One result of `easel doctor`."""

from dataclasses import dataclass

OK, WARN, BAD = "ok", "warn", "bad"


@dataclass(frozen=True)
class Check:
    """`mark` is "ok", "warn" (works, but needs attention) or "bad" (does not work)."""

    about: str
    mark: str
    sentence: str
