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


def wait_s(view: QueueView, devices: int) -> float:
    """Seconds until the job starts, if every job takes the mean; a running job has half of it left."""
    ahead = position(view) - 1 + view.running / 2
    return ahead * view.mean_s / max(1, devices)
