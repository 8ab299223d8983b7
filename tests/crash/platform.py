"""A chat platform whose server is a file: what was posted stays posted, whatever happens to its sender.

The server answers late at times, and at times not at all although it did what it was asked.
"""

import asyncio
import hashlib
import random
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bot.jobs import Job, Media
from bot.ports import Delivery, Progress
from bot.ports.platform_answers import MessageGone, PlatformError, Undeliverable
from tests.crash import records
from tests.crash.points import Points

SLOW_S = 0.05
NO_ANSWER = 0.06
"""Share of the calls that are done but not confirmed."""
GONE = 0.06
"""Share of the jobs whose person deletes the placeholder."""
BLOCKED = 0.03
"""Share of the jobs whose person blocks the bot."""


def fate(job_id: str) -> str:
    """What people do to a job's messages; the same in every generation."""
    drawn = random.Random(job_id).random()
    return "blocked" if drawn < BLOCKED else "gone" if drawn < BLOCKED + GONE else ""


class LoggedPlatform:
    def __init__(self, name: str, folder: Path, points: Points, dice: random.Random) -> None:
        self.name = name
        self._log = records.Log(folder / records.PLATFORM)
        self._points = points
        self._dice = dice
        posted = [line for line in records.read(folder / records.PLATFORM) if line["platform"] == name]
        self._by_nonce = {line["nonce"]: line["ref"] for line in posted if line.get("nonce")}

    async def post_placeholder(self, delivery: Delivery) -> str:
        return await self._new("place", delivery, {"state": "waiting"})

    async def send_result(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        return await self._new("send", delivery, _content(delivery.job, pictures))

    async def edit_result(self, delivery: Delivery, pictures: Sequence[Media]) -> str:
        assert delivery.message_ref is not None
        self._check(delivery.job.id)
        if fate(delivery.job.id) == "gone":
            raise MessageGone("the message was deleted")
        await self._call("edit", delivery.job.id, delivery.message_ref, _content(delivery.job, pictures))
        return delivery.message_ref

    async def retract_message(self, delivery: Delivery, message_ref: str) -> None:
        await self._call("retract", delivery.job.id, message_ref, {})

    async def notify_undeliverable(self, delivery: Delivery) -> None:
        assert delivery.message_ref is not None
        self._check(delivery.job.id)
        await self._call("edit", delivery.job.id, delivery.message_ref, {"state": "kept"})

    async def show_progress(self, job: Job, message_ref: str, progress: Progress) -> bool:
        if not fate(job.id):
            await self._call("progress", job.id, message_ref, {"state": "running", "step": progress.step})
        return True

    async def _new(self, call: str, delivery: Delivery, content: dict[str, Any]) -> str:
        self._check(delivery.job.id)
        ref = self._by_nonce.get(delivery.nonce) if self.name == "nonces" else None
        if ref is None:
            ref = f"{self.name}-{secrets.token_hex(8)}"
            self._by_nonce[delivery.nonce] = ref
        await self._call(call, delivery.job.id, ref, content, nonce=delivery.nonce)
        return ref

    def _check(self, job_id: str) -> None:
        if fate(job_id) == "blocked":
            raise Undeliverable("the bot was blocked")

    async def _call(self, call: str, job_id: str, ref: str, content: dict[str, Any], nonce: str = "") -> None:
        await asyncio.sleep(self._dice.expovariate(1 / SLOW_S) if self._dice.random() < 0.2 else 0)
        is_answered = self._dice.random() > NO_ANSWER
        self._points.reach(f"before {call}")
        self._log.write(
            platform=self.name,
            call=call,
            job=job_id,
            ref=ref,
            content=content,
            nonce=nonce,
            answered=is_answered,
        )
        self._points.reach(f"after {call}")
        await asyncio.sleep(self._dice.expovariate(1 / SLOW_S) if self._dice.random() < 0.2 else 0)
        if not is_answered:
            raise PlatformError("no answer", retry_after_s=0.2)


def _content(job: Job, pictures: Sequence[Media]) -> dict[str, Any]:
    return {
        "state": str(job.state),
        "media": [hashlib.sha256(picture.data).hexdigest() for picture in pictures],
        "text": job.result.text if job.result else None,
        "error": job.error.code if job.error else None,
    }
