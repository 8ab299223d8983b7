"""The watchdog's decisions, with given times: no processes, no waiting."""

from dataclasses import replace

from bot.ports import NoWorkerPlugins, WorkerPlugin
from inference.ipc.plugin_messages import PluginCall
from inference.pool.plugin_watch import PluginWatch
from inference.pool.watchdog import Hung, TaskHandle, TimedOut, Watchdog, latest_step_at
from inference.settings import PoolSettings
from tests.inference.support import make_task

SETTINGS = PoolSettings(
    job_timeout_s=100,
    load_timeout_s=300,
    heartbeat_timeout_s=30,
    load_heartbeat_timeout_s=60,
    step_timeout_s=20,
    cancel_grace_s=10,
)


def make_watchdog(*, is_ready: bool = True) -> Watchdog:
    watchdog = Watchdog(SETTINGS, 0)
    if is_ready:
        watchdog.mark_ready()
    return watchdog


async def make_running(*steps_at: float) -> TaskHandle:
    """A task that started at 0 and stepped at these times."""
    handle = TaskHandle(make_task())
    handle.mark_started(0)
    for at in steps_at:
        handle.record_usage(at, at, has_stepped=True)
    return handle


def check_until(
    watchdog: Watchdog, end: float, running: list[TaskHandle] | None = None, *, has_heartbeats: bool = False
):
    """Check every second, as the pool does; returns the first problem and its time."""
    now = watchdog._checked_at
    while now < end:
        now += 1
        if has_heartbeats:
            watchdog.on_message(now)
        problem = watchdog.check(now, running or [])
        if problem is not None:
            return now, problem
    return None


async def test_missing_heartbeats_are_noticed_after_the_timeout():
    now, problem = check_until(make_watchdog(), 100)

    assert (now, type(problem)) == (31, Hung)


async def test_the_heartbeat_timeout_is_longer_during_startup_and_loading():
    loading = make_watchdog()
    loading.on_load_started("m", 0)

    assert check_until(make_watchdog(is_ready=False), 100)[0] == 61
    assert check_until(loading, 100)[0] == 61


async def test_loading_has_a_limit_despite_heartbeats():
    watchdog = make_watchdog()
    watchdog.on_load_started("m", 0)

    now, problem = check_until(watchdog, 1000, has_heartbeats=True)

    assert (now, problem.stuck_model) == (301, "m")


async def test_a_job_is_told_to_stop_once_and_its_child_is_killed_after_the_grace_period():
    running = await make_running(*range(1, 100, 10))
    watchdog = make_watchdog()

    now, problem = check_until(watchdog, 1000, [running], has_heartbeats=True)
    assert (now, type(problem)) == (101, TimedOut)

    running.stop_deadline = now + SETTINGS.cancel_grace_s
    now, problem = check_until(watchdog, 1000, [running], has_heartbeats=True)
    assert (now, type(problem)) == (112, Hung)


async def test_device_time_is_the_childs_report_plus_the_time_since():
    running = await make_running()
    running.record_usage(10, 4.0, has_stepped=True)

    assert running.device_s(12) == 6.0
    assert TaskHandle(make_task()).device_s(1000) == 0


async def test_the_step_timeout_follows_the_jobs_own_pace():
    quick, slow = await make_running(0.5, 1), await make_running(8, 16)

    assert check_until(make_watchdog(), 99, [quick], has_heartbeats=True)[0] == 22
    assert check_until(make_watchdog(), 99, [slow], has_heartbeats=True)[0] == 97, (
        "ten times its slowest step after its last"
    )


async def test_a_first_step_is_limited_only_by_the_jobs_time():
    now, problem = check_until(make_watchdog(), 1000, [await make_running()], has_heartbeats=True)

    assert (now, type(problem)) == (101, TimedOut)


async def test_a_parent_that_was_delayed_itself_does_not_blame_its_child():
    watchdog = make_watchdog()
    running = await make_running(1, 2)
    check_until(watchdog, 3, [running], has_heartbeats=True)

    assert watchdog.check(500, []) is None
    assert watchdog.check(501, []) is None


async def test_a_task_ends_once():
    from bot.errors import Interrupted, JobCancelled

    running = await make_running()
    running.put_event(Interrupted())
    running.put_event(JobCancelled())

    assert running.events.qsize() == 1
    assert isinstance(running.events.get_nowait(), Interrupted)


async def test_loading_another_model_does_not_count_as_time_of_a_running_job():
    running = await make_running(1)
    watchdog = make_watchdog()
    watchdog.on_load_started("m", 1)

    assert check_until(watchdog, 200, [running], has_heartbeats=True) is None
    watchdog.on_load_ended(200, [running])
    assert running.device_s(201) == 2.0
    assert check_until(watchdog, 219, [running], has_heartbeats=True) is None
    assert check_until(watchdog, 300, [running], has_heartbeats=True)[0] == 221


async def test_a_job_that_waits_for_its_turn_is_not_a_hang():
    waits, steps = await make_running(1), await make_running(1)
    watchdog = make_watchdog()
    for at in range(2, 60):
        steps.record_usage(at, at, has_stepped=True, others_step_at=latest_step_at([waits, steps]))
        assert check_until(watchdog, at, [waits, steps], has_heartbeats=True) is None

    now, problem = check_until(watchdog, 200, [waits, steps], has_heartbeats=True)
    assert (now, type(problem)) == (80, Hung)


async def test_waiting_for_its_turn_does_not_count_as_a_slow_step():
    waits, steps = await make_running(1), await make_running(1, 40)
    waits.record_usage(41, 2, has_stepped=True, others_step_at=latest_step_at([waits, steps]))

    assert waits.slowest_step_s == 1.0


async def test_time_that_earlier_tasks_of_the_job_used_counts_towards_its_time_limit():
    handle = await make_running(*range(1, 60))
    late = await make_running(*range(1, 60))
    late.task = replace(late.task, past_s=90.0)

    assert check_until(make_watchdog(), 59, [handle], has_heartbeats=True) is None
    now, problem = check_until(make_watchdog(), 59, [late], has_heartbeats=True)
    assert (now, problem) == (11, TimedOut(late))


async def test_a_hook_of_a_plugin_has_its_own_time_limit_and_counts_as_no_hang_of_its_job():
    now = 0.0
    plugins = PluginWatch(SlowPlugins(), "cpu", lambda: now)
    plugins.list_enabled()
    watchdog = Watchdog(SETTINGS, 0, plugins)
    watchdog.mark_ready()
    running = await make_running(1, 2)

    def check_at(at):
        nonlocal now
        now = at
        watchdog._checked_at = at - 1
        watchdog.on_message(at)
        return watchdog.check(at, [running])

    check_at(3)
    plugins.handle(PluginCall("slow", "easel_step"))
    assert check_at(50) is None
    plugins.handle(PluginCall())
    assert check_at(60) is None
    assert check_at(71).reason == "no step for 20 s"
    plugins.handle(PluginCall("slow", "easel_step"))
    assert check_at(132).reason == "easel_step of the plugin slow took over 60 s"


class SlowPlugins(NoWorkerPlugins):
    def list_for_worker(self):
        return [WorkerPlugin(name="slow", time_limit_s=60)]
