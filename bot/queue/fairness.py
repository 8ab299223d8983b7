"""Pure: a queued job's position under two-level start-time fair queueing.

A person's k-th waiting job starts when everyone else in the space has reached virtual time `vtime + k * mean`; the same
holds one level up, for spaces. Source: Goyal et al., "Start-time Fair Queueing", 1996.
"""

import math
from collections.abc import Iterable

from bot.ports import FairShareLane, QueueView


def queue_position(view: QueueView) -> int:
    """The position of the job in the queue; 1 is next."""
    mean = max(view.mean_s, 1e-6)
    in_space = view.own_ahead + _jobs_before(view.people, view.person.vtime + view.own_ahead * mean, mean)
    return 1 + in_space + _jobs_before(view.spaces, view.space.vtime + in_space * mean, mean)


def _jobs_before(lanes: Iterable[FairShareLane], start: float, mean: float) -> int:
    """Jobs of other lanes that start before virtual time `start`; at equal times the own job goes first."""
    return sum(min(lane.backlog, math.ceil((start - lane.vtime) / mean)) for lane in lanes if lane.vtime < start)


def wait_s(view: QueueView, *, slots: int, max_running: int, stretch: float = 1.0) -> float:
    """Seconds until the job starts, assuming that every job takes the mean.

    Args:
        slots: number of jobs that run concurrently on all devices.
        max_running: number of those that one person may have.
        stretch: the duration of a job beside others, relative to its duration alone.
    """
    anyone = _rounds(queue_position(view) - 1, view.running, slots)
    own = _rounds(view.own_ahead, view.own_running, max_running)
    return max(anyone, own) * view.mean_s * stretch


def _rounds(ahead: int, running: int, slots: int) -> float:
    """Number of job durations until a slot is free for a job with `ahead` jobs before it.

    If all slots are in use, their jobs are at random stages and end at regular intervals. Otherwise they start now,
    together.
    """
    slots = max(1, slots, running)
    to_end = ahead + running + 1 - slots
    if to_end <= 0:
        return 0.0
    return (to_end - 0.5) / slots if running == slots else float(math.ceil(to_end / slots))
