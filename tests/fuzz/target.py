"""The Easel under attack: real storage, use cases, web adapter and image children; the engines are fake.

Every unhandled exception of the process and every logged error is recorded, whatever the client was answered.
"""

import asyncio
import logging
import sys
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping, MutableMapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import structlog
from prometheus_client.parser import text_string_to_metric_families

from bot.safety import SafetySettings
from bot.settings.core import QueueSettings, QuotaSettings
from inference.images.service import ImageService
from tests.application_fixture import make_config, open_test_application
from tests.model_manager_fixture import FOX
from tests.moderation import SOME_WEIGHTS
from tests.web.conftest import MODELS, STYLES, ServedEasel
from tests.web.fake_pool import TestPool


@dataclass
class ErrorRecorder:
    """What nobody handled: log records of level error and above, and what the event loop reports."""

    errors: list[str] = field(default_factory=list)

    def record(self, what: str, error: object = None) -> None:
        if error is True:
            error = sys.exc_info()[1]
        trace = "".join(traceback.format_exception(error, limit=-4)) if isinstance(error, BaseException) else error
        self.errors.append(f"{what}: {trace or ''}")

    def process_event(self, _logger: Any, method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
        error = event.get("exc_info")
        if method in ("error", "exception", "critical") or isinstance(error, BaseException):
            self.record(f"{event.get('action')} {event.get('request', '')} {event.get('error', '')}", error)
        raise structlog.DropEvent

    @contextmanager
    def recording(self) -> Iterator[None]:
        handler = logging.Handler(logging.ERROR)
        handler.emit = lambda record: self.record(record.getMessage(), record.exc_info)  # type: ignore[method-assign]
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _loop, found: self.record(str(found["message"]), found.get("exception")))
        logging.getLogger().addHandler(handler)
        structlog.configure(processors=[self.process_event])
        try:
            yield
        finally:
            structlog.reset_defaults()
            logging.getLogger().removeHandler(handler)
            loop.set_exception_handler(None)


@dataclass(kw_only=True)
class FuzzTarget:
    """`ann` and `ben` are keys of two persons, `admin` an admin's."""

    easel: ServedEasel
    recorder: ErrorRecorder
    ann: str
    ben: str
    admin: str

    @property
    def url(self) -> str:
        return self.easel.url

    def open_client(self, key: str) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            base_url=self.url, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False
        )

    async def count_server_errors(self) -> dict[str, int]:
        """Answers of 500 and above so far, by route and status."""
        async with self.open_client(self.admin) as client:
            metrics = (await client.get("/metrics")).text
        samples = (sample for family in text_string_to_metric_families(metrics) for sample in family.samples)
        return {
            f"{sample.labels['method']} {sample.labels['route']}: {sample.labels['status']}": int(sample.value)
            for sample in samples
            if sample.name == "easel_http_requests_total" and sample.labels["status"] >= "500"
        }


@asynccontextmanager
async def open_target(data_dir: Path, images: ImageService) -> AsyncIterator[FuzzTarget]:
    loaded = make_config(
        data_dir,
        (*MODELS, FOX),
        queue=QueueSettings(max_outstanding=100),
        quota=QuotaSettings(daily_device_seconds=0),
        styles=STYLES,
        safety=SafetySettings(classifier=SOME_WEIGHTS),
    )
    recorder = ErrorRecorder()
    async with AsyncExitStack() as stack:
        stack.enter_context(recorder.recording())
        await stack.enter_async_context(images)
        pool: Any = TestPool([spec.name for spec in MODELS], slots=8)
        application = await stack.enter_async_context(open_test_application(loaded, pool, images, drain_s=1.0))
        easel = ServedEasel(application=application, pool=pool, data_dir=data_dir)
        stack.push_async_callback(easel.stop)
        await easel.serve()
        people = application.usecases.people
        keys = [(await people.create_key(name, is_admin=name == "Admin"))[1] for name in ("Ann", "Ben", "Admin")]
        yield FuzzTarget(easel=easel, recorder=recorder, ann=keys[0], ben=keys[1], admin=keys[2])
