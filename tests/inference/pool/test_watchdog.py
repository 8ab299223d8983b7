"""The watchdog's decisions, with times that are given: no processes, no waiting."""

from inference.pool.watchdog import Hung, Running, TimeUp, Watchdog, last_step
from inference.settings import PoolSettings
from tests.inference.support import make_task

SETTINGS = PoolSettings(
    job_timeout_s=100, load_timeout_s=300, silence_s=30, load_silence_s=60, step_silence_s=20, cancel_grace_s=10
)


def make_watchdog(*, is_up: bool = True) -> Watchdog:
    watchdog = Watchdog(SETTINGS, 0)
    if is_up:
        watchdog.is_up()
    return watchdog


async def make_running(*steps_at: float) -> Running:
    """A task that began at 0 and stepped at these times."""
    running = Running(make_task())
    running.start(0)
    for at in steps_at:
        running.report(at, at, stepped=True)
    return running


def look(watchdog: Watchdog, until: float, running: list[Running] | None = None, *, hears: bool = False):
    """Check every second, as the pool does; the first thing found and when."""
    now = watchdog._checked_at
    while now < until:
        now += 1
        if hears:
            watchdog.heard(now)
        found = watchdog.check(now, running or [])
        if found is not None:
            return now, found
    return None


async def test_silence_is_noticed_after_its_limit():
    now, found = look(make_watchdog(), 100)

    assert (now, type(found)) == (31, Hung)


async def test_a_child_that_starts_or_loads_may_be_silent_for_longer():
    loading = make_watchdog()
    loading.load_began("m", 0)

    assert look(make_watchdog(is_up=False), 100)[0] == 61
    assert look(loading, 100)[0] == 61


async def test_loading_has_a_limit_although_the_heart_beats():
    watchdog = make_watchdog()
    watchdog.load_began("m", 0)

    now, found = look(watchdog, 1000, hears=True)

    assert (now, found.stuck_load) == (301, "m")


async def test_a_job_is_told_to_stop_once_and_its_child_is_killed_after_the_grace():
    running = await make_running(*range(1, 100, 10))
    watchdog = make_watchdog()

    now, found = look(watchdog, 1000, [running], hears=True)
    assert (now, type(found)) == (101, TimeUp)

    running.must_end_by = now + SETTINGS.cancel_grace_s
    now, found = look(watchdog, 1000, [running], hears=True)
    assert (now, type(found)) == (112, Hung)


async def test_device_time_is_what_the_child_says_and_what_passed_since():
    running = await make_running()
    running.report(10, 4.0, stepped=True)

    assert running.device_s(12) == 6.0
    assert Running(make_task()).device_s(1000) == 0


async def test_a_job_that_steps_no_more_is_noticed_by_its_own_pace():
    quick, slow = await make_running(0.5, 1), await make_running(8, 16)

    assert look(make_watchdog(), 99, [quick], hears=True)[0] == 22
    assert look(make_watchdog(), 99, [slow], hears=True)[0] == 97, "ten times its slowest step after its last"


async def test_a_first_step_takes_as_long_as_the_job_may():
    now, found = look(make_watchdog(), 1000, [await make_running()], hears=True)

    assert (now, type(found)) == (101, TimeUp)


async def test_a_parent_that_was_held_up_itself_does_not_blame_its_child():
    watchdog = make_watchdog()
    running = await make_running(1, 2)
    look(watchdog, 3, [running], hears=True)

    assert watchdog.check(500, []) is None
    assert watchdog.check(501, []) is None


async def test_an_end_is_told_once():
    from bot.errors import Interrupted, JobCancelled

    running = await make_running()
    running.tell(Interrupted())
    running.tell(JobCancelled())

    assert running.events.qsize() == 1
    assert isinstance(running.events.get_nowait(), Interrupted)


async def test_time_in_which_another_model_loads_is_no_time_of_a_running_job():
    running = await make_running(1)
    watchdog = make_watchdog()
    watchdog.load_began("m", 1)

    assert look(watchdog, 200, [running], hears=True) is None
    watchdog.load_ended(200, [running])
    assert running.device_s(201) == 2.0
    assert look(watchdog, 219, [running], hears=True) is None
    assert look(watchdog, 300, [running], hears=True)[0] == 221


async def test_a_job_that_waits_for_its_turn_is_no_hang_while_another_steps():
    waits, steps = await make_running(1), await make_running(1)
    watchdog = make_watchdog()
    for at in range(2, 60):
        steps.report(at, at, stepped=True, others_stepped_at=last_step([waits, steps]))
        assert look(watchdog, at, [waits, steps], hears=True) is None

    now, found = look(watchdog, 200, [waits, steps], hears=True)
    assert (now, type(found)) == (80, Hung)


async def test_waiting_for_a_turn_makes_nobody_more_patient():
    waits, steps = await make_running(1), await make_running(1, 40)
    waits.report(41, 2, stepped=True, others_stepped_at=last_step([waits, steps]))

    assert waits.slowest_step_s == 1.0
