"""What is counted of jobs and deliveries, and that labels stay few."""

from datetime import UTC, datetime, timedelta

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from adapters.metrics.prometheus_metrics import MAX_VALUES, PrometheusMetrics
from adapters.metrics.state_families import collect_state
from bot.jobs import JobState
from bot.ports import Delivery, DeviceStatus, DeviceTotals, PendingDeliveries, StorageState
from tests.fakes import make_chat_job, make_job

NOW = datetime.now(UTC)


@pytest.fixture
def metrics():
    return PrometheusMetrics()


def value(metrics, name, **labels):
    return metrics.registry.get_sample_value(name, labels)


def state_value(name, labels, **state):
    registry = CollectorRegistry()
    registry.register(collect_state({}, StorageState(**state), state.pop("devices", [])))
    return registry.get_sample_value(name, labels)


def ended(state=JobState.DELIVERED, **more):
    times = {"created_at": NOW - timedelta(seconds=50), "started_at": NOW - timedelta(seconds=20), "finished_at": NOW}
    return make_job(state=state, cost=3.5, **{**times, **more})


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        (JobState.DELIVERED, "succeeded"),
        (JobState.RENDERED, "succeeded"),
        (JobState.FAILED, "failed"),
        (JobState.CANCELLED, "cancelled"),
        (JobState.DEAD, "dead"),
    ],
)
def test_a_job_ends_with_one_outcome(metrics, state, outcome):
    job = ended(state)
    metrics.count_ended(job)
    kind = {"command": job.command, "model": job.model, "platform": job.origin.platform}

    assert value(metrics, "easel_jobs_ended_total", **kind, outcome=outcome) == 1
    charged = value(metrics, "easel_device_seconds_charged_total", command=job.command, model=job.model)
    assert charged == (3.5 if outcome == "succeeded" else None)


def test_waiting_and_running_are_apart(metrics):
    job = ended()
    metrics.count_ended(job)

    assert value(metrics, "easel_job_wait_seconds_sum", command=job.command) == 30
    assert value(metrics, "easel_job_run_seconds_sum", command=job.command, model=job.model) == 20


def test_a_job_that_never_started_has_neither_waited_nor_run(metrics):
    job = ended(JobState.CANCELLED, started_at=None)
    metrics.count_ended(job)

    assert value(metrics, "easel_job_wait_seconds_count", command=job.command) is None
    assert value(metrics, "easel_job_run_seconds_count", command=job.command, model=job.model) is None


def test_models_that_come_and_go_do_not_fill_the_memory(metrics):
    for number in range(MAX_VALUES + 50):
        metrics.count_accepted([make_job(model=f"model-{number}")])
    models = {
        sample.labels["model"]
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name == "easel_jobs_accepted_total"
    }

    assert len(models) == MAX_VALUES + 1
    assert "other" in models


def test_the_lag_of_a_result_counts_from_the_end_of_its_job(metrics):
    job = make_chat_job(finished_at=datetime.now(UTC) - timedelta(seconds=40))
    for kind in ("placeholder", "result"):
        metrics.count_delivery(Delivery(id=1, job=job, kind=kind, tries=0, message_ref=None), "sent")
    metrics.count_delivery(Delivery(id=1, job=job, kind="result", tries=0, message_ref=None), "retried")
    labels = {"kind": "result", "platform": job.origin.platform}

    assert value(metrics, "easel_delivery_lag_seconds_count", **labels) == 1
    assert 40 <= value(metrics, "easel_delivery_lag_seconds_sum", **labels) < 60
    assert value(metrics, "easel_deliveries_total", **labels, outcome="retried") == 1


def test_events_are_counted_by_webhook_too(metrics):
    delivery = Delivery(id=1, job=ended(), kind="webhook", tries=0, message_ref=None, target="studio")
    metrics.count_delivery(delivery, "sent")

    assert value(metrics, "easel_webhook_deliveries_total", webhook="studio", outcome="sent") == 1
    assert value(metrics, "easel_deliveries_total", kind="webhook", platform="webhook", outcome="sent") == 1


def test_reasons_to_requeue_are_there_from_the_start(metrics):
    assert value(metrics, "easel_jobs_requeued_total", reason="worker_lost") == 0


@pytest.mark.parametrize("outcome", ["sent", "retried", "postponed", "undeliverable"])
def test_the_first_event_that_is_given_up_raises_a_counter_that_was_there(outcome):
    metrics = PrometheusMetrics(webhooks=["studio"])

    assert value(metrics, "easel_webhook_deliveries_total", webhook="studio", outcome=outcome) == 0


def test_the_first_error_of_the_storage_raises_a_counter_that_was_there(metrics):
    assert value(metrics, "easel_storage_errors_total", code="storage_full") == 0


def test_there_are_no_created_series(metrics):
    metrics.count_ended(ended())

    assert "_created" not in generate_latest(metrics.registry).decode()


def test_two_servers_in_one_process_count_apart(metrics):
    metrics.count_requeued("lease", 3)

    assert value(PrometheusMetrics(), "easel_jobs_requeued_total", reason="lease") == 0


def test_the_outbox_is_shown_by_kind_with_the_age_of_its_oldest():
    pending = {
        ("result", "discord"): PendingDeliveries(count=2, oldest_s=30.0),
        ("webhook", "webhook"): PendingDeliveries(count=5, oldest_s=90.0),
    }

    labels = {"kind": "webhook", "platform": "webhook"}
    assert state_value("easel_outbox_pending", labels, deliveries=pending) == 5
    assert state_value("easel_outbox_oldest_seconds", {}, deliveries=pending) == 90


def test_a_device_shows_what_it_has_done():
    totals = DeviceTotals(busy_s=7.5, passes=4, rows=24, loads=3, load_s=9.0, swaps=1, timeouts=2, memory_mb=1000)
    registry = CollectorRegistry()
    registry.register(collect_state({}, StorageState(), [DeviceStatus(device="cpu", state="ready", totals=totals)]))
    shown = {
        name: registry.get_sample_value(f"easel_device_{name}", {"device": "cpu"})
        for name in ("busy_seconds_total", "pass_rows_sum", "pass_rows_count", "model_loads_total", "model_swaps_total",
                     "model_load_seconds_total", "timeouts_total", "memory_total_bytes")
    }  # fmt: skip

    assert list(shown.values()) == [7.5, 24, 4, 3, 1, 9.0, 2, 1000 * 2**20]
