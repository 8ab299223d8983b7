"""`easel serve`: everything that is switched on, until a signal stops it."""

import asyncio
import sys
from typing import TYPE_CHECKING

from adapters.cli.ports import Loaded
from composition.application import Application, open_application
from composition.settings import ENGINES

if TYPE_CHECKING:
    from bot.ports import Adapter
    from bot.runtime.shutdown import Stop


async def serve(loaded: Loaded, *, engines: str = ENGINES) -> int:
    """Run until SIGINT or SIGTERM: then take nothing more on, let running jobs finish or go back to the queue.

    A second signal ends the process at once; nothing is lost by it. Returns the exit code.
    """
    from adapters.registry import adapters_of
    from bot.errors import StartupError
    from bot.runtime.lock import DataLock
    from bot.runtime.shutdown import Stop
    from bot.usecases import Surroundings

    stop = Stop()
    with DataLock(loaded.data_dir) as lock:
        async with open_application(loaded, secret=lock.secret, engines=engines) as application:
            surroundings = Surroundings(
                usecases=application.usecases,
                data_dir=loaded.data_dir,
                secret=lock.secret,
                announce=lambda line: print(line, flush=True),
                publish=lock.publish,
                inbox=application.storage.inbox,
                secret_of=loaded.secrets.of,
            )
            try:
                adapters = adapters_of(loaded, surroundings)
                application.deliverer.connect(adapters)
                await _work(application, adapters, stop, loaded.settings["queue"].drain_s)
            except* StartupError as group:
                raise group.exceptions[0] from None
    return 0


async def _work(application: Application, adapters: "list[Adapter]", stop: "Stop", drain_s: float) -> None:
    from bot.runtime.shutdown import end

    async with asyncio.TaskGroup() as group:
        working = group.create_task(application.dispatcher.run())
        others = [group.create_task(adapter.run()) for adapter in adapters]
        others += [group.create_task(application.deliverer.run()), group.create_task(application.upkeep.run())]
        others.append(group.create_task(application.usecases.choosing.resume()))
        await stop.wait()
        application.usecases.jobs.is_closing = True
        print("Stopping: running jobs may finish; press Ctrl-C again to stop at once.", file=sys.stderr, flush=True)
        await application.usecases.choosing.close()
        await application.dispatcher.close(drain_s)
        await working
        await end(others)
