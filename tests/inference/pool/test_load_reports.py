"""What tasks report while their model loads, on a clock of the test's own."""

from dataclasses import replace

import pytest

from bot.models import DEPTH_ESTIMATION, IMAGE_SEGMENTATION, IMAGE_TO_TEXT, IMPORT_S
from bot.ports import Measurement
from inference.pool.load_reports import REPORT_INTERVAL_S, DeviceMeasurements, LoadReports
from inference.pool.watchdog import TaskHandle, Watchdog
from inference.settings import PoolSettings
from tests.inference.support import make_model, make_task


def make_load(seconds, model="fox", device="cpu", what="load"):
    return Measurement(device=device, model=model, dtype="f", shape="", batch_size=1, what=what, seconds=seconds)


def make_import(seconds):
    return make_load(seconds, model="", what="import")


def make_reports(*measurements):
    """Of a device whose process has imported an engine's libraries."""
    reports = LoadReports(DeviceMeasurements("cpu", measurements))
    reports.has_imported = True
    return reports


def make_handle(model="fox"):
    return TaskHandle(make_task(model=make_model(model)))


def reports_of(handle):
    events = [handle.events.get_nowait() for _ in range(handle.events.qsize())]
    return [(event.phase, event.load_s) for event in events]


def test_the_time_left_comes_from_the_last_load_on_this_device_and_shrinks_until_it_is_unknown():
    measurements = DeviceMeasurements("cpu", [make_load(30.0), make_load(5.0, device="cuda:0")])
    measurements.record_measurement(make_load(20.0))
    reports, watchdog, handle = LoadReports(measurements), Watchdog(PoolSettings(), 0.0), make_handle()
    reports.has_imported = True

    reports.report_start(handle, [handle], watchdog, 0.0)
    watchdog.on_load_started("fox", 1.0)
    reports.report_loading([handle, other := make_handle("other")], watchdog, 1.0)
    for now in (1.0 + REPORT_INTERVAL_S / 2, 6.0, 6.5, 21.5):
        reports.repeat_report([handle], watchdog, now)

    assert reports_of(handle) == [("loading", 20.0), ("loading", 20.0), ("loading", 15.0), ("loading", None)]
    assert reports_of(other) == []
    assert len(measurements.list_latest()) == 1


def test_a_task_waits_while_the_device_is_busy_with_another_model():
    reports, watchdog = make_reports(make_load(4.0)), Watchdog(PoolSettings(), 0.0)
    handle = make_handle()

    reports.report_start(handle, [handle, make_handle("other")], watchdog, 0.0)
    watchdog.on_load_started("other", 0.0)
    reports.report_start(handle, [handle], watchdog, 0.0)
    watchdog.on_load_started("fox", 0.0)
    reports.report_start(handle, [handle], watchdog, 1.0)

    assert reports_of(handle) == [("waiting", None), ("waiting", None), ("loading", 3.0)]


def test_a_started_task_no_longer_reports_loading():
    reports, handle = make_reports(make_load(4.0)), make_handle()
    reports.report_start(handle, [handle], Watchdog(PoolSettings(), 0.0), 0.0)

    reports.report_started(handle)
    reports.report_started(handle)

    assert reports_of(handle) == [("loading", 4.0), ("running", None)]


def test_the_first_load_of_a_process_also_imports_the_libraries():
    measurements = DeviceMeasurements("cpu", [make_load(4.0)])
    reports, model = LoadReports(measurements), make_model("fox")

    unmeasured_s = reports.remaining_s(model, 0.0, 0.0)
    reports.record_measurement(make_import(11.0))
    imported_s = reports.remaining_s(model, 0.0, 0.0)
    reports.has_imported = False  # another process

    assert (unmeasured_s, imported_s, reports.remaining_s(model, 0.0, 1.0)) == (4.0 + IMPORT_S, 4.0, 14.0)


@pytest.mark.parametrize(("task", "steps"), [(IMAGE_TO_TEXT, 30), (DEPTH_ESTIMATION, 1), (IMAGE_SEGMENTATION, 1)])
def test_a_task_without_denoising_steps_reports_its_tokens_or_one_pass(task, steps):
    handle = TaskHandle(replace(make_task(task=task, model=make_model("fox")), options={}))
    reports = make_reports(make_load(4.0))
    reports.report_start(handle, [handle], Watchdog(PoolSettings(), 0.0), 0.0)

    assert handle.events.get_nowait().steps == steps
