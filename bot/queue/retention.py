"""Regular chores: pictures that nobody needs any more, and keys that will not come again, are forgotten."""

import asyncio
from dataclasses import dataclass

import structlog

from bot.ports import Inbox, MediaStore, Privacy
from bot.settings.core import ImagesSettings, RetentionSettings

log = structlog.get_logger()

SWEEP_EVERY_S = 3600.0
KEYS_KEPT_DAYS = 30
"""How long an event or a request that comes again is known to have come before."""


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    media: MediaStore
    inbox: Inbox
    privacy: Privacy
    images: ImagesSettings
    retention: RetentionSettings

    async def run(self) -> None:
        """Sweep at once and then every hour, until cancelled."""
        while True:
            try:
                await self.sweep()
            except Exception as error:  # the edge of a loop that must go on
                log.warning("the sweep has to wait", action="sweep_failed", exc_info=error)
            await asyncio.sleep(SWEEP_EVERY_S)

    async def sweep(self) -> None:
        swept = await self.media.sweep(
            unused_s=self.images.max_unused_h * 3600.0, keep_days=self.retention.days, max_gb=self.retention.max_gb
        )
        await self.inbox.prune(KEYS_KEPT_DAYS)
        await self.privacy.tidy()
        if swept.files:
            log.info("pictures forgotten", action="swept", files=swept.files, megabytes=round(swept.megabytes, 1))
