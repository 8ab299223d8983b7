"""Ways to reach people."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from bot.jobs import Job, Media
from bot.ports.media import Delivery
from bot.ports.pool import Progress


@runtime_checkable
class Platform(Protocol):
    """One way to reach people. `reply.py` of each adapter turns jobs into messages."""

    name: str

    async def place(self, delivery: Delivery) -> str:
        """Post the placeholder; returns its message ref. Raises: PlatformError."""

    async def progress(self, job: Job, message_ref: str, progress: Progress) -> None:
        """Best effort; never raises PlatformError that matters."""

    async def edit(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        """Turn the placeholder into the result; "not modified" is success. Raises: MessageGone, PlatformError."""

    async def send(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        """The fallback: a new message with `delivery.nonce`. Raises: Undeliverable, PlatformError."""

    async def tell_kept(self, delivery: Delivery) -> None:
        """Say in the placeholder that the result is kept, and where: no picture, no buttons, nothing to refuse.

        Raises: MessageGone, PlatformError.
        """


class Adapter(Protocol):
    """A platform as the composition root sees it (`adapters.PLATFORMS`). Chat platforms are a `Platform` too."""

    name: str

    async def run(self) -> None:
        """Serve until cancelled. Raises: StartupError (port taken, token refused), with a sentence."""
