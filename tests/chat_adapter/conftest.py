"""The line chat on real storage, queue and outbox; only the engines are made up."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio

from adapters.cli.ports import LoadedConfig
from bot.jobs import JobState
from bot.models import IMAGE_TO_IMAGE, IMAGE_TO_TEXT, TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING, ModelRegistry, ModelSpec
from bot.queue.pricing import Rates
from bot.runtime.shutdown import cancel_tasks
from bot.safety import SafetySettings
from bot.settings import read_secrets
from bot.settings.core import ImagesSettings, QueueSettings, QuotaSettings, RetentionSettings, SearchSettings
from composition.application import Application, wire_application
from composition.settings import ROOT
from storage import Storage, StorageSettings, open_storage
from tests.chat_adapter.line_chat import LineChat
from tests.moderation import SOME_WEIGHTS
from tests.web.fake_pool import TestPool

MODELS = (
    ModelSpec(
        name="paint", tasks=(TEXT_TO_IMAGE, IMAGE_TO_IMAGE), repo="paint", steps=3, max_steps=50, width=64, height=64,
        max_size=128, samplers=("euler",), sampler="euler", step_s=0.01, demo=True,
    ),
    ModelSpec(name="look", tasks=(IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING), repo="look", step_s=0.01),
)  # fmt: skip
SETTINGS = {
    "queue": QueueSettings(max_outstanding=100, max_running=50),
    "quota": QuotaSettings(daily_device_seconds=1e6),
    "images": ImagesSettings(),
    "retention": RetentionSettings(),
    "search": SearchSettings(),
    "safety": SafetySettings(policy="allow", classifier=SOME_WEIGHTS),
    "styles": {},
}

OPEN = (JobState.QUEUED, JobState.RUNNING)


@dataclass
class LineApp:
    chat: LineChat
    application: Application
    storage: Storage
    pool: Any

    async def until(self, holds: Callable[[], Any]) -> Any:
        async with asyncio.timeout(30):
            while not (value := holds()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        return value

    async def finished(self, account: str, line: str, **more: str) -> str:
        """The reference of the message that a line's job ended in."""
        before = set(self.chat.messages)
        assert await self.chat.receive(account, line, **more) == ""

        def found() -> str | None:
            new = {ref: text for ref, text in self.chat.messages.items() if ref not in before}
            return next((ref for ref, text in new.items() if "[v1:delete" in text), None)

        ref: str = await self.until(found)
        return ref


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_app(tmp_path_factory: Any) -> AsyncIterator[LineApp]:
    data_dir: Path = tmp_path_factory.mktemp("lines")
    models = ModelRegistry({spec.name: spec for spec in MODELS})
    loaded = LoadedConfig(
        settings=SETTINGS, secrets=read_secrets({}, data_dir), data_dir=data_dir, models=models, root=ROOT
    )
    async with open_storage(StorageSettings(min_free_mb=0), data_dir) as storage:
        pool: Any = TestPool([spec.name for spec in MODELS], slots=4)
        unused: Any = None  # nobody uploads a picture here
        application = wire_application(loaded, storage, pool, unused, Rates(), {}, secret="s")
        chat = LineChat(application.usecases, admins=frozenset({"ada"}))
        application.deliverer.connect([chat])
        tasks = [
            asyncio.create_task(run())
            for run in (application.dispatcher.run_forever, application.deliverer.run_forever)
        ]
        yield LineApp(chat, application, storage, pool)
        pool.go_on.set()
        await cancel_tasks(tasks)


@pytest_asyncio.fixture(loop_scope="module")
async def app(shared_app: LineApp) -> AsyncIterator[LineApp]:
    """Jobs whose prompt says "slow" run until the test ends."""
    shared_app.pool.go_on.clear()
    yield shared_app
    shared_app.pool.go_on.set()
    while any(map((await shared_app.storage.jobs.count_by_state()).get, OPEN)):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
