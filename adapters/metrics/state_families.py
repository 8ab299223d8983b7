"""The state at the time of a scrape, as families for Prometheus: queue, outbox, storage and devices."""

from collections.abc import Mapping, Sequence

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

from bot.jobs import JobState
from bot.ports import DeviceStatus, StorageState


class StateCollector:
    """Families that were read once, as a registry for prometheus_client."""

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families


def collect_state(
    counts: Mapping[JobState, int],
    storage: StorageState,
    devices: Sequence[DeviceStatus],
    more: Sequence[Metric] = (),
) -> StateCollector:
    return StateCollector([*_queue(counts, storage), *_outbox(storage), *_disk(storage), *_devices(devices), *more])


def _queue(counts: Mapping[JobState, int], storage: StorageState) -> list[Metric]:
    jobs = GaugeMetricFamily("easel_jobs", "Jobs in the database by state", labels=["state"])
    for state in JobState:
        jobs.add_metric([state.value], counts.get(state, 0))
    backlog = GaugeMetricFamily("easel_queue_backlog", "Queued jobs by model", labels=["model"])
    for model, count in sorted(storage.backlog.items()):
        backlog.add_metric([model], count)
    oldest = "easel_queue_oldest_seconds", "Age of the job that has waited longest; 0: none waits"
    return [jobs, backlog, GaugeMetricFamily(*oldest, value=storage.oldest_queued_s)]


def _outbox(storage: StorageState) -> list[Metric]:
    labels = ["kind", "platform"]
    pending = GaugeMetricFamily("easel_outbox_pending", "Messages and events to be sent", labels=labels)
    for (kind, platform), one in sorted(storage.deliveries.items()):
        pending.add_metric([kind, platform], one.count)
    oldest_s = max((one.oldest_s for one in storage.deliveries.values()), default=0.0)
    oldest = "easel_outbox_oldest_seconds", "Age of the oldest message or event that is not sent yet"
    waiting = "easel_inbox_waiting", "Chat events that are stored and not handled yet"
    return [
        pending,
        GaugeMetricFamily(*oldest, value=oldest_s),
        GaugeMetricFamily(*waiting, value=storage.inbox_waiting),
    ]


def _disk(storage: StorageState) -> list[Metric]:
    backup = storage.last_backup.timestamp() if storage.last_backup is not None else 0.0
    values = {
        "easel_storage_writer_queue": ("Operations that wait for the database's writer", storage.writer_queue),
        "easel_database_bytes": ("Size of the database", storage.database_bytes),
        "easel_media_bytes": ("Size of all stored images", storage.media_bytes),
        "easel_disk_free_bytes": ("Free space on the disk of the data directory", storage.free_bytes),
        "easel_backup_last_timestamp_seconds": ("Time of the last backup, Unix time; 0: there was none", backup),
    }
    return [GaugeMetricFamily(name, help_text, value=value) for name, (help_text, value) in values.items()]


def _devices(devices: Sequence[DeviceStatus]) -> list[Metric]:
    gauges = {
        "easel_device_ready": ("Whether the device accepts jobs", lambda one: one.state == "ready"),
        "easel_device_running": ("Jobs running on the device", lambda one: one.running),
        "easel_device_memory_bytes": ("Memory that the worker process uses", lambda one: one.memory_mb << 20),
        "easel_device_memory_total_bytes": (
            "Memory of the device, or of the machine; 0: unknown",
            lambda one: one.totals.memory_mb << 20,
        ),
    }
    counters = {
        "easel_device_restarts": ("Restarts of the worker process", lambda one: one.restarts),
        "easel_device_busy_seconds": ("Time spent on jobs", lambda one: one.totals.busy_s),
        "easel_device_model_loads": ("Models loaded", lambda one: one.totals.loads),
        "easel_device_model_load_seconds": ("Time spent loading models", lambda one: one.totals.load_s),
        "easel_device_model_swaps": ("Models loaded in place of others", lambda one: one.totals.swaps),
        "easel_device_out_of_memory": ("Jobs that ran out of memory", lambda one: one.totals.out_of_memory),
        "easel_device_timeouts": ("Jobs that took too long", lambda one: one.totals.timeouts),
    }
    families: list[Metric] = []
    for kind, described in ((GaugeMetricFamily, gauges), (CounterMetricFamily, counters)):
        for name, (help_text, read) in described.items():
            family = kind(name, help_text, labels=["device"])
            for status in devices:
                family.add_metric([status.device], float(read(status)))
            families.append(family)
    return [*families, _rows(devices), _loaded(devices)]


def _rows(devices: Sequence[DeviceStatus]) -> Metric:
    rows = SummaryMetricFamily("easel_device_pass_rows", "Images or texts in a forward pass", labels=["device"])
    for status in devices:
        rows.add_metric([status.device], count_value=status.totals.passes, sum_value=status.totals.rows)
    return rows


def _loaded(devices: Sequence[DeviceStatus]) -> Metric:
    loaded = GaugeMetricFamily("easel_model_loaded", "Models loaded on the device", labels=["device", "model"])
    for status in devices:
        for model in status.loaded:
            loaded.add_metric([status.device, model], 1.0)
    return loaded
