"""Webhooks: addresses of the owner's that are told what became of a job."""

from typing import Protocol

from bot.ports.media import Delivery


class WebhookSender(Protocol):
    def has_webhook(self, name: str) -> bool:
        """Whether the config has a webhook of this name."""

    async def send_event(self, delivery: Delivery) -> None:
        """Post what became of the delivery's job to the webhook `delivery.target`; returns once it was accepted.

        Raises: JobNotFound: the job was erased; Undeliverable: it will never be accepted; PlatformError, with the wait
        that was asked for.
        """

    async def send_test(self, name: str) -> None:
        """Post an event about no job to the webhook. Raises: Undeliverable, PlatformError."""
