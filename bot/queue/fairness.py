"""Pure: where a queued job stands under two-level start-time fair queueing.

A person's k-th waiting job starts when everyone else in the space has caught up with virtual time
`vtime + k * mean`; the same holds one level up, for spaces. Source: Goyal et al., "Start-time Fair Queueing", 1996.
"""

import math
from collections.abc import Iterable

from bot.ports import Lane, QueueView


def position(view: QueueView) -> int:
    """How many queued jobs come before this one, plus one: 1 is next."""
    mean = max(view.mean_s, 1e-6)
    in_space = view.own_ahead + _ahead(view.people, view.person.vtime + view.own_ahead * mean, mean)
    return 1 + in_space + _ahead(view.spaces, view.space.vtime + in_space * mean, mean)


def _ahead(lanes: Iterable[Lane], start: float, mean: float) -> int:
    """Jobs of other lanes that start before virtual time `start`; at equal times one's own goes first."""
    return sum(min(lane.backlog, math.ceil((start - lane.vtime) / mean)) for lane in lanes if lane.vtime < start)


def wait_s(view: QueueView, *, places: int, max_running: int, stretch: float = 1.0) -> float:
    """Seconds until the job starts, if every job takes the mean.

    Args:
        places: how many jobs run at once in the whole house.
        max_running: how many of them may be one person's.
        stretch: how many times as long a job takes beside others as alone.
    """
    anyone = _turns(position(view) - 1, view.running, places)
    own = _turns(view.own_ahead, view.own_running, max_running)
    return max(anyone, own) * view.mean_s * stretch


def _turns(ahead: int, running: int, places: int) -> float:
    """How many times the length of a job passes before one of the places is free for whoever has so many ahead.

    Jobs in a full house are at all stages, and end evenly one after another. Else they start now, together.
    """
    places = max(1, places, running)
    to_end = ahead + running + 1 - places
    if to_end <= 0:
        return 0.0
    return (to_end - 0.5) / places if running == places else float(math.ceil(to_end / places))
