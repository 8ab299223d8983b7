"""`easel serve`: runs all enabled services until a signal stops them."""

import asyncio
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from adapters.cli.ports import LoadedConfig
from composition.application import Application, open_application
from composition.settings import ENGINES

if TYPE_CHECKING:
    from bot.ports import Adapter
    from bot.runtime.shutdown import StopSignal


async def serve(loaded: LoadedConfig, *, engines: str = ENGINES) -> int:
    """Run until SIGINT or SIGTERM, then stop accepting requests and let running jobs finish or requeue them.

    A second signal ends the process immediately, without data loss. Returns the exit code.
    """
    from adapters.metrics.prometheus_metrics import PrometheusMetrics
    from adapters.registry import create_adapters
    from adapters.webhooks.settings import webhooks_of
    from bot.errors import StartupError
    from bot.runtime.lock import DataLock
    from bot.runtime.lock_requests import wait_for_offered_lock
    from bot.runtime.open_files import raise_open_file_limit
    from bot.runtime.shutdown import StopSignal
    from bot.usecases import AdapterContext

    raise_open_file_limit()
    stop = StopSignal()
    wait_for_offered_lock(loaded.data_dir)
    with DataLock(loaded.data_dir) as lock:
        metrics = PrometheusMetrics(webhooks=webhooks_of(loaded.settings))
        async with open_application(loaded, secret=lock.secret, engines=engines, metrics=metrics) as application:
            context = AdapterContext(
                usecases=application.usecases,
                data_dir=loaded.data_dir,
                secret=lock.secret,
                announce=lambda line: print(line, flush=True),
                publish_address=lock.publish_url,
                inbox=application.storage.inbox,
                read_secret=_secret_reader(loaded),
            )
            try:
                adapters = create_adapters(loaded, context)
                application.deliverer.connect(adapters)
                await _run_until_stopped(application, adapters, stop, loaded.settings["queue"].drain_s)
            except* StartupError as group:
                raise group.exceptions[0] from None
    return 0


def _secret_reader(loaded: LoadedConfig) -> Callable[[str], str]:
    """Reads a secret as it is now: a token that was replaced in its file works without a restart."""
    from bot.errors import ConfigError
    from bot.settings import read_secrets

    def read(variable: str) -> str:
        try:
            return read_secrets(os.environ, loaded.data_dir).get(variable) or loaded.secrets.get(variable)
        except ConfigError:  # it is being written
            return loaded.secrets.get(variable)

    return read


async def _run_until_stopped(
    application: Application, adapters: "list[Adapter]", stop: "StopSignal", drain_s: float
) -> None:
    from bot.runtime.shutdown import cancel_tasks

    async with asyncio.TaskGroup() as group:
        dispatching = group.create_task(application.dispatcher.run_forever())
        others = [group.create_task(adapter.serve()) for adapter in adapters]
        others += [
            group.create_task(application.deliverer.run_forever()),
            group.create_task(application.retention.run_forever()),
            group.create_task(application.sampler.run_forever()),
            group.create_task(application.picture_embedder.run_forever()),
            group.create_task(application.usecases.corrections.run_forever()),
            group.create_task(application.usecases.grids.run_forever()),
        ]
        others.append(group.create_task(application.usecases.model_manager.resume_installs()))
        others.append(group.create_task(application.usecases.trainings.resume_trainings()))
        await stop.wait()
        application.usecases.jobs.is_closing = True
        print("Stopping: running jobs may finish; press Ctrl-C again to stop immediately.", file=sys.stderr, flush=True)
        await application.usecases.model_manager.close()
        await application.usecases.trainings.close()
        await application.fused_builds.close()
        await application.usecases.search.close()
        await application.dispatcher.close(drain_s)
        await dispatching
        await cancel_tasks(others)
