"""A receiver of events whose log is a file: it refuses some, and does not answer others that it has accepted."""

import asyncio
import random

from bot.ports import Delivery
from bot.ports.platform_answers import PlatformError
from tests.crash import records

NAME = "studio"
REFUSED = 0.2
NO_ANSWER = 0.1
"""Shares of the calls."""


class LoggedWebhook:
    def __init__(self, log: records.Log, dice: random.Random) -> None:
        self._log = log
        self._dice = dice

    def has_webhook(self, name: str) -> bool:
        return name == NAME

    async def send_test(self, name: str) -> None:
        raise NotImplementedError

    async def send_event(self, delivery: Delivery) -> None:
        await asyncio.sleep(self._dice.uniform(0, 0.03))
        drawn = self._dice.random()
        if drawn < REFUSED:
            raise PlatformError("HTTP 503", retry_after_s=0.5)
        self._log.write(event="told", job=delivery.job.id, state=str(delivery.job.state))
        if drawn < REFUSED + NO_ANSWER:
            raise PlatformError("no answer", retry_after_s=0.5)
