"""Platforms: chats that results are delivered to, and adapters that the server runs."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from bot.jobs import Job, Media
from bot.ports.media import Delivery
from bot.ports.pool import Progress


@runtime_checkable
class Platform(Protocol):
    """A chat platform. `delivery.py` of each adapter turns jobs into messages."""

    name: str

    async def post_placeholder(self, delivery: Delivery) -> str:
        """Post the placeholder; returns its message ref. Raises: PlatformError."""

    async def show_progress(self, job: Job, message_ref: str, progress: Progress) -> bool:
        """Best effort: a PlatformError is ignored. False: the chat's limits do not allow it now, and it is dropped."""

    async def edit_result(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        """Turn the placeholder into the result; "not modified" counts as success. Raises: MessageGone,
        PlatformError."""

    async def send_result(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        """The fallback: post a new message with `delivery.nonce`. Raises: Undeliverable, PlatformError."""

    async def retract_message(self, delivery: Delivery, message_ref: str) -> None:
        """Delete a message of an erased job, or empty it where it is too old for that. May be repeated.

        Raises: MessageGone: there is none any more; Undeliverable: nobody can; PlatformError.
        """

    async def notify_undeliverable(self, delivery: Delivery) -> None:
        """Say in the placeholder where the result is stored. It has no picture and no buttons that could be rejected.

        Raises: MessageGone, PlatformError.
        """


class Adapter(Protocol):
    """An adapter as the composition root sees it (`adapters.PLATFORMS`). Chat adapters are also a `Platform`."""

    name: str

    async def serve(self) -> None:
        """Serve until cancelled. Raises: StartupError: the port is taken, or the token was rejected."""
