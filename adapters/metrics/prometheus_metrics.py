"""Counts what happens, for Prometheus: jobs, deliveries, the database and HTTP requests.

Labels have few values: names from the config and from the code, never those of persons, spaces or prompts.
"""

import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import version

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    Summary,
    disable_created_metrics,
)

from bot.jobs import Job, JobState
from bot.ports import WEBHOOK, Delivery, WorkMetrics

WAIT_BUCKETS = (0.1, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600, 7200)
RUN_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800)
DELIVERY_BUCKETS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400)
COMMIT_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)
HTTP_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
MAX_VALUES = 200
"""Of one label. Models come and go, and plugins add names: whatever is beyond counts as `OTHER`."""
OTHER = "other"
REQUEUE_REASONS = ("worker_lost", "out_of_memory", "interrupted", "plugin", "lease", "restart")
"""Counted from 0, like the others here, so that the first of them is seen by `rate` and `increase`."""
STORAGE_ERRORS = ("storage_busy", "storage_full")
DELIVERY_OUTCOMES = ("sent", "retried", "postponed", "undeliverable")
_OUTCOMES = {JobState.RENDERED: "succeeded", JobState.DELIVERED: "succeeded"}


class BoundedNames:
    """The values of one label: the first `MAX_VALUES`."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def __call__(self, name: str) -> str:
        if name not in self._known and len(self._known) >= MAX_VALUES:
            return OTHER
        self._known.add(name)
        return name


class HttpMetrics:
    """RED of HTTP. `route` is the pattern of a route, `stream` a response of server-sent events."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._route = BoundedNames()
        self._requests = Counter(
            "easel_http_requests", "Completed HTTP requests", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "easel_http_request_duration_seconds",
            "Time to the end of a response; of a stream, to its beginning",
            ["method", "route"],
            buckets=HTTP_BUCKETS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "easel_http_requests_in_flight", "HTTP requests under way, streams included", registry=registry
        )
        self.streams = Gauge("easel_http_streams", "Open streams of server-sent events", registry=registry)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        route = self._route(route)
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


class PrometheusMetrics(WorkMetrics):
    """In a registry of its own for each server in the process. `webhooks`: the names of those in the config."""

    def __init__(self, *, webhooks: Iterable[str] = ()) -> None:
        disable_created_metrics()
        self.registry = registry = CollectorRegistry()
        self.http = HttpMetrics(registry)
        self._command, self._model, self._reason, self._webhook = (BoundedNames() for _ in range(4))
        kinds = ["command", "model", "platform"]
        self._accepted = Counter("easel_jobs_accepted", "Accepted jobs", kinds, registry=registry)
        self._ended = Counter("easel_jobs_ended", "Jobs that have ended", [*kinds, "outcome"], registry=registry)
        self._requeued = Counter(
            "easel_jobs_requeued", "Jobs that returned to the queue", ["reason"], registry=registry
        )
        self._charged = Counter(
            "easel_device_seconds_charged", "Device-seconds that jobs cost", ["command", "model"], registry=registry
        )
        self._wait = Histogram(
            "easel_job_wait_seconds",
            "From accepting a job to its start",
            ["command"],
            buckets=WAIT_BUCKETS,
            registry=registry,
        )
        self._run = Histogram(
            "easel_job_run_seconds",
            "From the start of a job to its end",
            ["command", "model"],
            buckets=RUN_BUCKETS,
            registry=registry,
        )
        self._preview = Histogram(
            "easel_job_first_preview_seconds",
            "From accepting a job that is watched to its first preview",
            ["command"],
            buckets=WAIT_BUCKETS,
            registry=registry,
        )
        self._blocked = Counter(
            "easel_requests_blocked", "Requests that the rules refused", ["reason"], registry=registry
        )
        self._add_deliveries(registry)
        self._add_storage(registry)
        self._begin_at_zero(webhooks)
        about = Info("easel_build", "Versions", registry=registry)
        about.info({"version": version("easel"), "python": platform.python_version()})
        ProcessCollector(registry=registry)

    def _add_deliveries(self, registry: CollectorRegistry) -> None:
        self._deliveries = Counter(
            "easel_deliveries", "Attempts of deliveries", ["kind", "platform", "outcome"], registry=registry
        )
        self._webhooks = Counter(
            "easel_webhook_deliveries", "Attempts of events", ["webhook", "outcome"], registry=registry
        )
        self._lag = Histogram(
            "easel_delivery_lag_seconds",
            "From the end of a job to the confirmation of its result or event",
            ["kind", "platform"],
            buckets=DELIVERY_BUCKETS,
            registry=registry,
        )
        self._reconnects = Counter(
            "easel_chat_reconnects", "Connections that a chat adapter has lost", ["platform"], registry=registry
        )

    def _add_storage(self, registry: CollectorRegistry) -> None:
        self._commit = Histogram(
            "easel_storage_commit_seconds",
            "Transactions of the database's writer",
            buckets=COMMIT_BUCKETS,
            registry=registry,
        )
        self._operations = Summary(
            "easel_storage_commit_operations", "Operations that shared a transaction", registry=registry
        )
        self._storage_errors = Counter(
            "easel_storage_errors", "Operations that the database refused", ["code"], registry=registry
        )

    def _begin_at_zero(self, webhooks: Iterable[str]) -> None:
        for reason in REQUEUE_REASONS:
            self._requeued.labels(self._reason(reason))
        for code in STORAGE_ERRORS:
            self._storage_errors.labels(self._reason(code))
        for webhook in webhooks:
            for outcome in DELIVERY_OUTCOMES:
                self._webhooks.labels(self._webhook(webhook), outcome)

    # ------------------------------------------------------------ bot.ports.WorkMetrics

    def count_accepted(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._accepted.labels(*self._labels(job)).inc()

    def count_ended(self, job: Job) -> None:
        outcome = _OUTCOMES.get(job.state, job.state.value)
        command, model, platform_name = self._labels(job)
        self._ended.labels(command, model, platform_name, outcome).inc()
        if job.started_at is not None:
            self._wait.labels(command).observe(max(0.0, (job.started_at - job.created_at).total_seconds()))
        if job.started_at is not None and job.finished_at is not None:
            self._run.labels(command, model).observe(max(0.0, (job.finished_at - job.started_at).total_seconds()))
        if outcome == "succeeded":
            self._charged.labels(command, model).inc(job.cost)

    def _labels(self, job: Job) -> tuple[str, str, str]:
        return self._command(job.command), self._model(job.model), job.origin.platform

    def count_requeued(self, reason: str, jobs: int = 1) -> None:
        self._requeued.labels(self._reason(reason)).inc(jobs)

    def observe_first_preview(self, job: Job) -> None:
        seconds = (datetime.now(UTC) - job.created_at).total_seconds()
        self._preview.labels(self._command(job.command)).observe(max(0.0, seconds))

    def count_delivery(self, delivery: Delivery, outcome: str) -> None:
        self._deliveries.labels(delivery.kind, delivery.platform, outcome).inc()
        if delivery.kind == WEBHOOK:
            self._webhooks.labels(self._webhook(delivery.target), outcome).inc()
        ended_at = delivery.job.finished_at
        if outcome == "sent" and delivery.kind in ("result", WEBHOOK) and ended_at is not None:
            seconds = (datetime.now(UTC) - ended_at).total_seconds()
            self._lag.labels(delivery.kind, delivery.platform).observe(max(0.0, seconds))

    def count_blocked(self, reason: str) -> None:
        self._blocked.labels(self._reason(reason)).inc()

    def observe_commit(self, seconds: float, operations: int) -> None:
        self._commit.observe(seconds)
        self._operations.observe(operations)

    def count_storage_error(self, code: str) -> None:
        self._storage_errors.labels(self._reason(code)).inc()

    def count_reconnect(self, platform: str, times: int = 1) -> None:
        self._reconnects.labels(platform).inc(times)
