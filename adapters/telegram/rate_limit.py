"""How often the bot may write: about one message a second in a chat, 20 a minute in a group, 30 a second in all.

Edits count like messages. Each chat has a budget of its own, so one that is flooded never holds up another. Whoever
has to wait is told until when, and has that place in the chat's line when it comes back. Progress only uses what
results will not need.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

FORGET_S = 600.0
"""A chat silent for so long is forgotten."""
MISSED_S = 60.0
"""A place in the line that nobody came for is free again."""
EARLY_S = 0.02


@dataclass(frozen=True)
class Rate:
    """At most `most` in any `span_s` seconds."""

    most: int
    span_s: float


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Below what Telegram allows, because what leaves evenly may arrive in a bunch: `overall` by as much as delays of
    a quarter of a second make of it.

    Attributes:
        kept: of a group's budget, what progress leaves for answers.
        kept_overall: of what may leave in all, what everything else leaves for first answers: nobody waits long for
            the word that they were heard.
        progress_s, group_progress_s: progress is shown no more often than this.
    """

    chat: Rate = Rate(3, 3.2)
    group: Rate = Rate(19, 62.0)
    overall: Rate = Rate(27, 1.05)
    kept: int = 8
    kept_overall: int = 3
    progress_s: float = 3.0
    group_progress_s: float = 15.0


@dataclass
class _Line:
    """One chat: when it was written to, who waits, and how long it is closed."""

    rates: tuple[Rate, ...]
    written: deque[float] = field(default_factory=deque)
    places: dict[str, float] = field(default_factory=dict)
    closed_until: float = 0.0
    progress_at: float = -1e9

    def next_free(self, now: float, taken: list[float]) -> float:
        """The first moment at which one more is allowed, given when others were and will be."""
        free = max(now, self.closed_until)
        for rate in self.rates:
            if len(taken) >= rate.most:
                free = max(free, taken[-rate.most] + rate.span_s)
        return free

    def ask(self, key: str, now: float) -> float:
        """0: its turn; otherwise the seconds until the place in the line that it has from now on."""
        place = self.places.get(key)
        if place is not None and place > now + EARLY_S:
            return place - now
        ahead = [] if place is not None else list(self.places.values())
        free = self.next_free(now, sorted([*self.written, *ahead]))
        if free <= now + EARLY_S:
            return 0.0
        others = [at for one, at in self.places.items() if one != key]
        self.places[key] = max(free, self.next_free(now, sorted([*self.written, *others])))
        return self.places[key] - now

    def count(self, key: str, now: float) -> None:
        self.written.append(now)
        self.places.pop(key, None)

    def tidy(self, now: float) -> None:
        longest = max(rate.span_s for rate in self.rates)
        while self.written and self.written[0] < now - longest:
            self.written.popleft()
        for key in [key for key, at in self.places.items() if at < now - MISSED_S]:
            del self.places[key]


class Pace:
    """`clock` is a monotonic one, seconds."""

    def __init__(self, rates: Rates | None = None, clock: Callable[[], float] | None = None) -> None:
        self._rates = rates or Rates()
        self._clock = clock or (lambda: asyncio.get_running_loop().time())
        self._lines: dict[int, _Line] = {}
        overall = self._rates.overall
        self._urgent = _Line((overall,))
        self._usual = _Line(
            (Rate(max(1, overall.most - self._rates.kept_overall), overall.span_s),), self._urgent.written
        )

    def admit(self, chat: int, key: str, *, is_urgent: bool = False) -> float:
        """0: write now, it is counted. Otherwise the seconds after which the same key will be let through."""
        now, line = self._clock(), self._line(chat)
        wait_s = line.ask(key, now)
        if wait_s > 0:
            return wait_s
        overall = self._urgent if is_urgent else self._usual
        overall.tidy(now)
        wait_s = overall.ask(f"{chat} {key}", now)
        if wait_s > 0:
            line.places[key] = now + wait_s  # whoever comes later to this chat stands behind
            return wait_s
        line.count(key, now)
        overall.count(f"{chat} {key}", now)
        return 0.0

    def spare(self, chat: int) -> bool:
        """Whether progress may be shown now; if so it is counted."""
        now, line = self._clock(), self._line(chat)
        pause = self._rates.group_progress_s if chat < 0 else self._rates.progress_s
        if (
            line.places
            or self._urgent.places
            or self._usual.places
            or now < line.closed_until
            or now < line.progress_at + pause
        ):
            return False
        usual, rarest = line.rates[0], line.rates[-1]
        used = sum(at > now - rarest.span_s for at in line.written)
        keep = self._rates.kept if chat < 0 else 1
        if any(at > now - usual.span_s for at in line.written):
            return False  # the next seconds belong to whoever asks next
        self._urgent.tidy(now)
        in_all = len(self._urgent.written)
        if used + keep >= rarest.most or in_all >= self._rates.overall.most // 4:
            return False
        line.progress_at = now
        line.count("", now)
        self._urgent.count("", now)
        return True

    def halt(self, chat: int, seconds: float) -> None:
        """Telegram said so; other chats go on."""
        now, line = self._clock(), self._line(chat)
        line.closed_until = max(line.closed_until, now + seconds)
        for key in line.places:
            line.places[key] = max(line.places[key], line.closed_until)

    def _line(self, chat: int) -> _Line:
        now = self._clock()
        if chat not in self._lines:
            self._forget(now)
            rates = (self._rates.chat, self._rates.group) if chat < 0 else (self._rates.chat,)
            self._lines[chat] = _Line(rates)
        self._lines[chat].tidy(now)
        return self._lines[chat]

    def _forget(self, now: float) -> None:
        """Lines in which nothing happens any more. Looked through only when a new chat comes."""
        for chat, line in list(self._lines.items()):
            last = line.written[-1] if line.written else -1e9
            if not line.places and max(last, line.closed_until) < now - FORGET_S:
                del self._lines[chat]
