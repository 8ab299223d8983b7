"""Whether a correction may be used for training, as a sentence."""

from typing import Any


def describe_consent(correction: dict[str, Any], how: str = "") -> str:
    """One sentence; `how` tells how to withdraw it."""
    if correction["consent"]:
        since = f"Since {_local_day(correction['consented_at'])} it may be used to train this server's models."
        return f"{since} {how}".rstrip()
    if correction["withdrawn_at"]:
        return f"You withdrew your consent on {_local_day(correction['withdrawn_at'])}: it is not used for training."
    return "It is not used for training."


def _local_day(time: str) -> str:
    from datetime import datetime

    return f"{datetime.fromisoformat(time).astimezone():%Y-%m-%d}"
