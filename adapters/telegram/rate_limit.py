"""Rate limits: about one message per second in a chat, 20 per minute in a group, 30 per second in total.

Edits count like messages. Each chat has its own budget, so a flooded chat never delays another. A caller that has to
wait is told for how long, and its slot is reserved. Progress only uses what results will not need.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from operator import itemgetter

IDLE_S = 600.0
"""A chat is dropped after this time without a message."""
RESERVATION_S = 60.0
"""A reservation that is not used expires after this time."""
TOLERANCE_S = 0.02


class Lane(IntEnum):
    """How urgent a message is: people wait for the reply to a short command, then for their placeholder."""

    REPLY, PLACEHOLDER, RESULT = range(3)


@dataclass(frozen=True)
class RateLimit:
    """At most `limit` messages in any `span_s` seconds."""

    limit: int
    span_s: float


@dataclass(frozen=True, kw_only=True)
class RateLimits:
    """Below what Telegram allows, because evenly sent messages may arrive in a burst: `overall` allows for delays of
    a quarter of a second.

    Attributes:
        reserved: messages of a group's budget that progress leaves for answers.
        reserved_overall: messages of the total that each lane leaves to the more urgent ones.
        progress_s, group_progress_s: the minimum interval between two progress updates.
    """

    chat: RateLimit = RateLimit(3, 3.2)
    group: RateLimit = RateLimit(19, 62.0)
    overall: RateLimit = RateLimit(27, 1.05)
    reserved: int = 8
    reserved_overall: int = 2
    progress_s: float = 3.0
    group_progress_s: float = 15.0


@dataclass
class _ChatQueue:
    """One chat: its recent messages, its reservations, and how long it is paused."""

    rates: tuple[RateLimit, ...]
    sent_at: deque[float] = field(default_factory=deque)
    reservations: dict[str, float] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    """Who made each reservation."""
    closed_until: float = 0.0
    progress_at: float = -1e9

    def next_free(self, now: float, taken: list[float]) -> float:
        """The first time at which one more message is allowed, given the times of the others."""
        free = max(now, self.closed_until)
        for rate in self.rates:
            if len(taken) >= rate.limit:
                free = max(free, taken[-rate.limit] + rate.span_s)
        return free

    def wait_s(self, key: str, now: float, owner: str = "") -> float:
        """0: send now; otherwise the seconds until the slot that is reserved from now on."""
        place = self.reservations.get(key)
        if place is not None and place > now + TOLERANCE_S:
            return place - now
        others = [at for one, at in self.reservations.items() if one != key]
        free = self.next_free(now, sorted([*self.sent_at, *(others if place is None else [])]))
        if free <= now + TOLERANCE_S:
            return 0.0
        self.reservations[key] = max(free, self.next_free(now, sorted([*self.sent_at, *others])))
        self.owners[key] = owner
        self._take_turn(key, now)
        return self.reservations[key] - now

    def _take_turn(self, key: str, now: float) -> None:
        """Exchange it for an earlier reservation of somebody who has more before that than its owner has in all."""
        owner, seen = self.owners[key], Counter[str]()
        own = sum(one == owner for one in self.owners.values())
        for other, at in sorted(self.reservations.items(), key=itemgetter(1)):
            if at >= self.reservations[key]:
                return
            theirs = self.owners.get(other, "")
            seen[theirs] += 1
            if theirs != owner and seen[theirs] > own and at > now + TOLERANCE_S:
                self.reservations[key], self.reservations[other] = at, self.reservations[key]
                return

    def record(self, key: str, now: float) -> None:
        self.sent_at.append(now)
        self.drop(key)

    def drop(self, key: str) -> None:
        self.reservations.pop(key, None)
        self.owners.pop(key, None)

    def prune(self, now: float) -> None:
        longest = max(rate.span_s for rate in self.rates)
        while self.sent_at and self.sent_at[0] < now - longest:
            self.sent_at.popleft()
        for key in [key for key, at in self.reservations.items() if at < now - RESERVATION_S]:
            self.drop(key)


class TelegramRateLimiter:
    """`clock`: monotonic, in seconds."""

    def __init__(self, rates: RateLimits | None = None, clock: Callable[[], float] | None = None) -> None:
        self._rates = rates or RateLimits()
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._queues: dict[int, _ChatQueue] = {}
        self._paused_until = 0.0
        self._sent_at: deque[float] = deque()
        self._lanes = {lane: _ChatQueue((self._limit_of(lane),), self._sent_at) for lane in Lane}

    def _limit_of(self, lane: Lane) -> RateLimit:
        overall = self._rates.overall
        return RateLimit(max(1, overall.limit - lane * self._rates.reserved_overall), overall.span_s)

    def reserve(self, chat: int, key: str, *, owner: str = "", lane: Lane = Lane.RESULT) -> float:
        """0: send now, it is counted. Otherwise the seconds after which the same key will be admitted.

        `owner`: the person whose message it is. Those of a chat take turns.
        """
        now, line = self._clock(), self._queue_of(chat)
        if now < self._paused_until:
            return self._paused_until - now
        wait_s = line.wait_s(key, now, owner)
        if wait_s > 0:
            return wait_s
        overall = self._lanes[lane]
        overall.prune(now)
        wait_s = overall.wait_s(f"{chat} {key}", now)
        if wait_s > 0:
            line.reservations[key] = now + wait_s  # later messages of this chat queue behind it
            line.owners[key] = owner
            return wait_s
        line.record(key, now)
        overall.record(f"{chat} {key}", now)
        return 0.0

    def try_progress(self, chat: int) -> bool:
        """Whether progress may be shown now; if so, it is counted."""
        now, line = self._clock(), self._queue_of(chat)
        pause = self._rates.group_progress_s if chat < 0 else self._rates.progress_s
        if (
            now < self._paused_until
            or line.reservations
            or any(overall.reservations for overall in self._lanes.values())
            or now < line.closed_until
            or now < line.progress_at + pause
        ):
            return False
        usual, rarest = line.rates[0], line.rates[-1]
        used = sum(at > now - rarest.span_s for at in line.sent_at)
        keep = self._rates.reserved if chat < 0 else 1
        if any(at > now - usual.span_s for at in line.sent_at):
            return False  # the next seconds are reserved for new requests
        self._lanes[Lane.REPLY].prune(now)
        in_all = len(self._sent_at)
        if used + keep >= rarest.limit or in_all >= self._rates.overall.limit // 4:
            return False
        line.progress_at = now
        line.record("", now)
        self._sent_at.append(now)
        return True

    def pause(self, chat: int, seconds: float) -> None:
        """Pause a chat, as Telegram asked; other chats continue."""
        now, line = self._clock(), self._queue_of(chat)
        line.closed_until = max(line.closed_until, now + seconds)
        for key in line.reservations:
            line.reservations[key] = max(line.reservations[key], line.closed_until)

    def pause_all(self, seconds: float) -> None:
        """Pause every chat: Telegram refuses the token."""
        self._paused_until = self._clock() + seconds

    def _queue_of(self, chat: int) -> _ChatQueue:
        now = self._clock()
        if chat not in self._queues:
            self._drop_idle_chats(now)
            rates = (self._rates.chat, self._rates.group) if chat < 0 else (self._rates.chat,)
            self._queues[chat] = _ChatQueue(rates)
        self._queues[chat].prune(now)
        return self._queues[chat]

    def _drop_idle_chats(self, now: float) -> None:
        """Drop idle chats. Only scanned when a new chat appears."""
        for chat, line in list(self._queues.items()):
            last = line.sent_at[-1] if line.sent_at else -1e9
            if not line.reservations and max(last, line.closed_until) < now - IDLE_S:
                del self._queues[chat]
