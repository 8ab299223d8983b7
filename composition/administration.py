"""Builds what admins see on the page, and the job that stores figures of each minute."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from adapters.cli.ports import LoadedConfig
from adapters.webhooks.settings import host_of, webhooks_of
from bot.ports import Pool
from bot.queue.sampler import MetricSampler
from bot.runtime.incidents import IncidentLog
from bot.usecases import JobUseCases, Operations, PeopleUseCases, PictureUseCases, ReportUseCases, ServerAdmin
from bot.usecases.training_work import ADAPTERS, WORK
from composition.webhooks import build_webhook_sender
from inference.backends.builds import FOLDER, builds_size_mb
from storage import Storage

SHOWN_SETTINGS: Mapping[str, tuple[str, ...]] = {
    "safety": ("policy", "local_policy", "threshold", "edit_others"),
    "quota": ("daily_device_seconds", "daily_upload_mb"),
    "queue": ("max_outstanding", "max_running", "max_queued", "swap_wait_s", "max_interruptions"),
    "images": ("max_upload_mb", "max_megapixels", "max_heic_mb", "max_heic_megapixels", "max_unused_h"),
    "retention": ("days", "max_gb"),
    "storage": ("min_free_mb",),
    "pool": ("max_tasks", "max_loaded_models", "loaded_models_mb", "job_timeout_s", "idle_unload_s"),
    "logs": ("level", "file", "file_mb", "files"),
}
"""By section, the settings that admins may read on the page; none of them is a secret, a path or an address."""


def build_server_admin(
    loaded: LoadedConfig,
    storage: Storage,
    jobs: JobUseCases,
    people: PeopleUseCases,
    device_of: Callable[[str], str],
) -> ServerAdmin:
    return ServerAdmin(
        store=storage.jobs,
        administration=storage.administration,
        refusals=storage.refusals,
        samples=storage.metric_samples,
        people=people,
        jobs=jobs,
        incidents=IncidentLog(loaded.data_dir / "logs"),
        settings=shown_settings(loaded.settings),
        device_of=device_of,
        builds_size_mb=lambda: builds_size_mb(loaded.data_dir / FOLDER),
        learning_size_mb=lambda: sum(builds_size_mb(loaded.data_dir / folder) for folder in (ADAPTERS, WORK)),
    )


def shown_settings(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Of the sections that there are."""
    return {
        section: {name: value for name, value in _values_of(settings[section]).items() if name in names}
        for section, names in SHOWN_SETTINGS.items()
        if section in settings
    }


def _values_of(section: Any) -> dict[str, Any]:
    return {name: getattr(value, "value", value) for name, value in asdict(section).items()}


def build_report_use_cases(storage: Storage, pictures: PictureUseCases) -> ReportUseCases:
    return ReportUseCases(store=storage.jobs, reports=storage.reports, pictures=pictures, media=storage.media)


def build_operations(loaded: LoadedConfig, storage: Storage, pool: Pool) -> Operations:
    return Operations(
        storage.jobs,
        storage.maintenance,
        pool.device_statuses,
        storage.monitor,
        storage.metrics,
        webhooks={name: host_of(one.url) for name, one in webhooks_of(loaded.settings).items()},
        webhook_sender=build_webhook_sender(loaded, storage),
    )


def build_sampler(storage: Storage, pool: Pool) -> MetricSampler:
    return MetricSampler(
        samples=storage.metric_samples, administration=storage.administration, devices=pool.device_statuses
    )
