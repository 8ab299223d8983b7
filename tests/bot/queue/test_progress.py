import asyncio

import pytest

from bot.ports import Progress
from bot.queue.progress import ProgressBus


@pytest.fixture
def events():
    return ProgressBus()


def step(number):
    return Progress(step=number, steps=9)


async def test_a_follower_receives_progress(events):
    with events.follow_job("a") as follower:
        events.publish_progress("a", step(1))

        assert await follower.next() == (False, step(1))


async def test_a_follower_only_receives_progress_of_its_own_job(events):
    with events.follow_job("a") as follower:
        events.publish_progress("b", step(1))
        events.publish_change("b")

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(follower.next(), 0.01)


async def test_the_latest_progress_wins(events):
    with events.follow_job("a") as follower:
        events.publish_progress("a", step(1))
        events.publish_progress("a", step(2))

        assert await follower.next() == (False, step(2))


async def test_a_slow_follower_misses_steps_but_never_the_end(events):
    with events.follow_job("a") as follower:
        events.publish_progress("a", step(1))
        events.publish_change("a")
        events.publish_progress("a", step(2))

        assert await follower.next() == (True, step(2))


async def test_a_change_is_reported_once(events):
    with events.follow_job("a") as follower:
        events.publish_change("a")
        await follower.next()

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(follower.next(), 0.01)


async def test_a_late_follower_starts_with_the_latest_progress(events):
    events.publish_progress("a", step(5))

    with events.follow_job("a") as follower:
        assert await follower.next() == (False, step(5))


def test_progress_is_forgotten_when_the_stored_job_changes(events):
    events.publish_progress("a", step(5))
    events.publish_change("a")

    assert events.latest_progress("a") is None


def test_a_job_is_watched_from_its_first_follower_to_its_last(events):
    told = []
    events.on_watched = lambda *what: told.append(what)

    with events.follow_job("a"), events.follow_job("a"):
        assert events.is_watched("a")

    assert told == [("a", True), ("a", False)]
    assert not events.is_watched("a")


async def test_a_follower_that_shows_no_previews_receives_progress_but_does_not_watch(events):
    told = []
    events.on_watched = lambda *what: told.append(what)

    with events.follow_job("a", wants_previews=False) as follower:
        with events.follow_job("a"):
            assert events.is_watched("a")
        assert (events.is_watched("a"), events.is_followed("a")) == (False, True)
        events.publish_progress("a", step(1))
        assert await follower.next() == (False, step(1))

    assert told == [("a", True), ("a", False)]
    assert not events.is_followed("a")


def test_a_follower_that_fails_stops_watching(events):
    with pytest.raises(ZeroDivisionError), events.follow_job("a"):
        raise ZeroDivisionError

    assert not events.is_watched("a")


def test_asking_whether_a_job_is_watched_keeps_nothing(events):
    events.is_watched("a")
    events.publish_progress("a", step(1))
    events.publish_change("a")

    assert not events._followers
    assert not events._latest


async def test_a_pause_ends_immediately_when_the_job_changes(events):
    with events.follow_job("a") as follower:
        asyncio.get_running_loop().call_later(0.01, events.publish_change, "a")

        async with asyncio.timeout(30):
            await follower.pause(60)

        assert await follower.next() == (True, None)


async def test_a_rest_lets_progress_wait(events):
    with events.follow_job("a") as follower:
        events.publish_progress("a", step(1))

        await follower.pause(0.01)

        assert await follower.next() == (False, step(1))


async def test_a_follower_that_is_cancelled_as_the_job_changes_is_cancelled(events):
    with events.follow_job("a") as follower:
        resting = asyncio.create_task(follower.pause(60))
        await asyncio.sleep(0)

        events.publish_change("a")
        resting.cancel()
        await asyncio.wait([resting])

        assert resting.cancelled()
