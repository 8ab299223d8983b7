"""Builds what brings results to people, and what is told that jobs wait or have ended."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from adapters.cli.ports import LoadedConfig
from bot.jobs import Job
from bot.ports import Platform
from bot.queue.delivery import Deliverer
from bot.queue.dispatcher import Dispatcher
from bot.queue.progress import ProgressBus
from composition.webhooks import build_webhook_sender
from storage import Storage


def build_deliverer(
    loaded: LoadedConfig,
    storage: Storage,
    progress_bus: ProgressBus,
    platforms: Mapping[str, Platform],
    on_delivered: Callable[[Job], None],
) -> Deliverer:
    return Deliverer(
        outbox=storage.outbox,
        media=storage.media,
        progress_bus=progress_bus,
        platforms=platforms,
        webhook_sender=build_webhook_sender(loaded, storage),
        on_delivered=on_delivered,
    )


@dataclass
class WakeUp:
    """Called with the ids of jobs that wait; `others` are woken, too."""

    dispatcher: Dispatcher
    others: list[Callable[[], None]] = field(default_factory=list)

    def __call__(self, job_ids: Iterable[str]) -> None:
        self.dispatcher.wake(job_ids)
        self._wake_others()

    def on_ended(self, _job: Job) -> None:
        self._wake_others()

    def _wake_others(self) -> None:
        for wake in self.others:
            wake()


def notify_each(*observers: Callable[[Job], None]) -> Callable[[Job], None]:
    def on_finished(job: Job) -> None:
        for observe in observers:
            observe(job)

    return on_finished
