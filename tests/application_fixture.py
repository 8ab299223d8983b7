"""The application as `composition` wires it, for tests: real storage and dispatcher, fake engines and a fake hub."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.cli import LoadedConfig
from adapters.metrics.prometheus_metrics import PrometheusMetrics
from adapters.web import WebSettings
from bot.models import ModelRegistry, ModelSpec
from bot.plugins.plugin_manager import PluginManager
from bot.queue.pricing import Rates
from bot.runtime.logs import LogsSettings
from bot.safety import SafetySettings
from bot.settings import Secrets
from bot.settings.core import ImagesSettings, QueueSettings, QuotaSettings, RetentionSettings, SearchSettings
from composition.application import Application, wire_application
from storage import StorageSettings, open_storage
from tests.model_manager_fixture import fake_model_sources
from tests.moderation import SOME_WEIGHTS


def make_config(data_dir: Path, models: Sequence[ModelSpec], **sections: Any) -> LoadedConfig:
    """Default settings, overridden by `sections`."""
    defaults = {
        "web": WebSettings(port=0),
        "logs": LogsSettings(),
        "storage": StorageSettings(min_free_mb=0),
        "retention": RetentionSettings(),
        "search": SearchSettings(),
        "quota": QuotaSettings(),
        "queue": QueueSettings(),
        "images": ImagesSettings(),
        "safety": SafetySettings(classifier=SOME_WEIGHTS),
        "styles": {},
    }
    return LoadedConfig(
        settings={**defaults, **sections},
        secrets=Secrets(),
        data_dir=data_dir,
        models=ModelRegistry({spec.name: spec for spec in models}),
        root=data_dir,
    )


@asynccontextmanager
async def open_test_application(
    loaded: LoadedConfig,
    pool: Any,
    images: Any,
    *,
    only_submitted: bool = False,
    drain_s: float = 0,
    plugins: PluginManager | None = None,
) -> AsyncIterator[Application]:
    """A working application; the data lock is the caller's."""
    async with open_storage(loaded.settings["storage"], loaded.data_dir, PrometheusMetrics()) as storage:
        sources = fake_model_sources(loaded.data_dir, loaded.models.all_specs)
        application = wire_application(
            loaded,
            storage,
            pool,
            images,
            Rates(),
            secret="quotes",
            only_submitted=only_submitted,
            sources=sources,
            plugins=plugins,
        )
        running = asyncio.create_task(application.dispatcher.run_forever())
        try:
            yield application
        finally:
            await application.deliveries.close()
            await application.dispatcher.close(drain_s)
            await running
