"""The limits on how often a bot may write: about one message a second in a chat, 20 a minute in a group, 30 a second.

Edits count like messages. `scale` shortens every span, so that a test does not wait for a minute.
"""

import math
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

COUNTED = {
    "sendMessage",
    "sendPhoto",
    "sendDocument",
    "sendMediaGroup",
    "editMessageText",
    "editMessageCaption",
    "editMessageMedia",
    "editMessageReplyMarkup",
}


@dataclass
class Window:
    most: int
    span_s: float
    times: deque[float] = field(default_factory=deque)

    def wait_s(self, now: float) -> float:
        """How long until one more is allowed."""
        while self.times and self.times[0] <= now - self.span_s:
            self.times.popleft()
        return 0.0 if len(self.times) < self.most else self.times[0] + self.span_s - now


class FloodLimits:
    """Counts what is written; `wait_s` above 0 is a 429."""

    def __init__(self, clock: Callable[[], float], scale: float = 1.0) -> None:
        self._clock = clock
        self._scale = scale
        self._overall = Window(30, scale)
        self._groups: defaultdict[int, Window] = defaultdict(lambda: Window(20, 60 * scale))
        self._chats: defaultdict[int, Window] = defaultdict(lambda: Window(4, 3 * scale))
        self.refused: list[tuple[int, str]] = []

    def check(self, chat: int, method: str) -> int:
        """Seconds to wait as a 429 tells them; 0: it was allowed and counted."""
        if method not in COUNTED:
            return 0
        now = self._clock()
        windows = [self._overall, self._chats[chat], *([self._groups[chat]] if chat < 0 else [])]
        wait_s = max(window.wait_s(now) for window in windows)
        if wait_s > 0:
            self.refused.append((chat, method))
            return math.ceil(wait_s)
        for window in windows:
            window.times.append(now)
        return 0
