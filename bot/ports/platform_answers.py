"""What a platform's answer to a message may mean, besides `bot.errors`: nothing of this is final."""

import math

from bot.errors import EaselError

UNKNOWN_PATIENCE, PAGE_PATIENCE = 3, 10
"""Failed tries before the fallbacks: after the platform's own words, and after a page of something in between."""

MIN_ASKED_WAIT_S, MAX_ASKED_WAIT_S, DEFAULT_WAIT_S = 0.5, 3600.0, 60.0
"""Bounds on the wait that a platform asks for, and the wait if it does not say for how long."""


def bounded_wait_s(asked: object) -> float:
    """The wait that an answer asks for in seconds, within reason: the field may contain anything."""
    try:
        seconds = float(asked)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return DEFAULT_WAIT_S
    return DEFAULT_WAIT_S if math.isnan(seconds) else min(max(MIN_ASKED_WAIT_S, seconds), MAX_ASKED_WAIT_S)


MAX_DETAIL = 200
"""Characters of a platform's own words that are logged and stored."""


class PlatformError(EaselError):
    """A delivery failed; it is retried or falls back.

    Args:
        retry_after_s: the wait that the platform asked for; None: our own back-off applies.
    """

    code = "platform"

    def __init__(self, detail: str = "", *, retry_after_s: float | None = None) -> None:
        super().__init__()
        self.detail = detail[:MAX_DETAIL]
        self.retry_after_s = retry_after_s


class MessageGone(PlatformError):
    """The message to edit no longer exists: use the next fallback."""


class Undeliverable(PlatformError):
    """The platform said itself that it will never accept it: the content is invalid, the chat or account is gone."""


class NotPermitted(PlatformError):
    """The platform refuses it there for now: a permission is missing, a topic is closed, the bot is blocked."""


class ReplyRejected(PlatformError):
    """The message may not be a reply there: post it without the reference."""


class TokenRefused(PlatformError):
    """The platform refuses the bot's token: nothing is lost, and everything waits until a token is accepted."""


class UnclearAnswer(PlatformError):
    """An answer with an unknown meaning, or one that is not the platform's: a proxy's page, an empty body.

    Args:
        patience: failed tries before the fallbacks are used.
    """

    def __init__(self, detail: str = "", *, patience: int = UNKNOWN_PATIENCE) -> None:
        super().__init__(detail)
        self.patience = patience
