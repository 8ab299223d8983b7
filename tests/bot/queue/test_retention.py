import asyncio
from typing import Any

import pytest

from bot.errors import StorageBusy
from bot.ports import SweepResult
from bot.queue import retention as retention_module
from bot.queue.retention import RetentionJob
from bot.settings.core import ImagesSettings, RetentionSettings
from tests.fakes import Fake, FakeMediaStore, eventually


class SweptMedia(FakeMediaStore):
    async def sweep(self, *, unused_s, keep_days, max_gb):
        self._begin("sweep", unused_s=unused_s, keep_days=keep_days, max_gb=max_gb)
        return SweepResult(files=2, megabytes=1.0)


class FakeInbox(Fake):
    async def prune(self, keep_days):
        self._begin("prune", keep_days=keep_days)
        return 3


class FakePrivacy(Fake):
    async def delete_old_exports(self):
        self._begin("delete_old_exports")


@pytest.fixture
def media():
    return SweptMedia()


def make_retention_job(media):
    images, retention = ImagesSettings(max_unused_h=2), RetentionSettings(days=30, max_gb=5.0)
    inbox: Any = FakeInbox()
    privacy: Any = FakePrivacy()
    return RetentionJob(media=media, inbox=inbox, privacy=privacy, images=images, retention=retention)


async def test_a_sweep_follows_the_settings(media):
    await make_retention_job(media).sweep_once()

    (sweep,) = media.called("sweep")
    assert (sweep.unused_s, sweep.keep_days, sweep.max_gb) == (7200.0, 30, 5.0)


async def test_old_keys_and_old_exports_are_deleted(media):
    job = make_retention_job(media)
    await job.sweep_once()

    assert [call.keep_days for call in job.inbox.called("prune")] == [30]
    assert len(job.privacy.called("delete_old_exports")) == 1


@pytest.mark.parametrize("error", [StorageBusy(), OSError("a file that cannot be deleted")])
async def test_a_sweep_that_fails_is_tried_again_next_time(media, monkeypatch, error):
    monkeypatch.setattr(retention_module, "SWEEP_EVERY_S", 0.001)
    media.failures["sweep"] = [error]
    running = asyncio.create_task(make_retention_job(media).run_forever())

    await eventually(lambda: running.done() or len(media.called("sweep")) > 1)

    assert not running.done()
    running.cancel()
