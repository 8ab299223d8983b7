"""The hourly retention job: deletes unneeded images, old exports and old keys."""

import asyncio
from dataclasses import dataclass

import structlog

from bot.ports import Inbox, MediaStore, Privacy
from bot.settings.core import ImagesSettings, RetentionSettings

log = structlog.get_logger()

SWEEP_EVERY_S = 3600.0
KEEP_KEYS_DAYS = 30
"""How long repeated events and requests are recognized."""


@dataclass(frozen=True, kw_only=True)
class RetentionJob:
    media: MediaStore
    inbox: Inbox
    privacy: Privacy
    images: ImagesSettings
    retention: RetentionSettings

    async def run_forever(self) -> None:
        """Sweep immediately and then every hour, until cancelled."""
        while True:
            try:
                await self.sweep_once()
            except Exception as error:  # the loop must not end
                log.warning("sweep failed", action="sweep_failed", exc_info=error)
            await asyncio.sleep(SWEEP_EVERY_S)

    async def sweep_once(self) -> None:
        swept = await self.media.sweep(
            unused_s=self.images.max_unused_h * 3600.0, keep_days=self.retention.days, max_gb=self.retention.max_gb
        )
        await self.inbox.prune(KEEP_KEYS_DAYS)
        await self.privacy.delete_old_exports()
        if swept.files:
            log.info("images deleted", action="swept", files=swept.files, megabytes=round(swept.megabytes, 1))
