"""Two hundred people over a hundred channels: what becomes of everything they ask for."""

import asyncio
import random
import re
from dataclasses import dataclass, field

from tests.discord.app_fixture import DiscordApp
from tests.discord.loopback.discord_server_state import Interaction, Message
from tests.discord.simulated_users import SimulatedUser, is_finished, until

EVERY_S = 20.0
LOOK_S = 0.5
"""Scanning all messages costs time that would slow down the system under test."""
_PROMPT = re.compile(r"fox number (\d+)")


@dataclass
class Load:
    """`delays_s`: from the command to the placeholder, for each that was asked.

    What refers to the whole state stays out of the words for it: `asyncio.run` makes those of what it returns.
    """

    requests: dict[int, Interaction] = field(default_factory=dict, repr=False)
    answers: dict[int, list[Message]] = field(default_factory=dict, repr=False)
    delays_s: list[float] = field(default_factory=list)
    too_soon: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def asked(self) -> int:
        return len(self.requests)

    @property
    def answered(self) -> int:
        return len(self.answers)

    @property
    def refused(self) -> int:
        return len(self.too_soon)

    @property
    def lost(self) -> list[int]:
        return [number for number in self.requests if number not in self.answers]

    @property
    def duplicated(self) -> list[int]:
        return [number for number, messages in self.answers.items() if len(messages) > 1]

    def percentile(self, share: float) -> float:
        return sorted(self.delays_s)[int(len(self.delays_s) * share)]


async def run_load(app: DiscordApp, *, people: int, channels: int, seconds: float, patience_s: float = 60.0) -> Load:
    """Everybody asks every 20 seconds, each beginning at a moment of their own, and waits for all answers."""
    state, load = app.server.state, Load()
    places = [state.channel() for _ in range(channels)]
    crowd = [SimulatedUser(app.server, state.person(f"p{index}"), places[index % channels]) for index in range(people)]
    dice = random.Random(4)
    moments = [dice.uniform(0, EVERY_S) for _ in crowd]
    await asyncio.gather(*(_ask(actor, load, seconds, moment) for actor, moment in zip(crowd, moments, strict=True)))

    def messages() -> list[Message]:
        return [message for place in places for message in place.from_bot]

    def is_over() -> bool:
        return len(said := messages()) >= load.asked and all(map(is_finished, said))

    await until(is_over, "all answers", patience_s, every_s=LOOK_S)
    for message in messages():
        match = _PROMPT.search(message.content)
        if match is not None and message.attachments:
            load.answers.setdefault(int(match.group(1)), []).append(message)
    for number, found in load.answers.items():
        load.delays_s.append(found[0].created - load.requests[number].created)
    load.too_soon = list(app.server.rest.limits.refused)
    load.problems = list(state.problems)
    return load


async def _ask(actor: SimulatedUser, load: Load, seconds: float, moment: float) -> None:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    while moment < seconds:
        await asyncio.sleep(begin + moment - loop.time())
        number = load.asked
        load.requests[number] = actor.slash("imagine", prompt=f"fox number {number}")
        moment += EVERY_S
