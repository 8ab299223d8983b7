"""Two hundred people over a hundred channels: what becomes of everything they ask for."""

import asyncio
import random
import re
from dataclasses import dataclass, field

from tests.discord.house import House
from tests.discord.loopback.world import Interaction, Message
from tests.discord.people import Actor, is_finished, until

EVERY_S = 20.0
_PROMPT = re.compile(r"fox number (\d+)")


@dataclass
class Load:
    """`delays_s`: from the command to the placeholder, for each that was asked."""

    asked: dict[int, Interaction] = field(default_factory=dict)
    answered: dict[int, list[Message]] = field(default_factory=dict)
    delays_s: list[float] = field(default_factory=list)
    too_soon: list[str] = field(default_factory=list)

    @property
    def lost(self) -> list[int]:
        return [number for number in self.asked if number not in self.answered]

    @property
    def doubled(self) -> list[int]:
        return [number for number, messages in self.answered.items() if len(messages) > 1]

    def percentile(self, share: float) -> float:
        return sorted(self.delays_s)[int(len(self.delays_s) * share)]


async def put_on(house: House, *, people: int, channels: int, seconds: float, patience_s: float = 60.0) -> Load:
    """Everybody asks every 20 seconds, each beginning at a moment of their own, and waits for all answers."""
    world, load = house.server.world, Load()
    places = [world.channel() for _ in range(channels)]
    crowd = [Actor(house.server, world.person(f"p{index}"), places[index % channels]) for index in range(people)]
    await asyncio.gather(*(_ask(actor, load, seconds) for actor in crowd))

    def messages() -> list[Message]:
        return [message for place in places for message in place.from_bot]

    await until(
        lambda: len(messages()) >= len(load.asked) and all(map(is_finished, messages())), "all answers", patience_s
    )
    for message in messages():
        match = _PROMPT.search(message.content)
        if match is not None and message.attachments:
            load.answered.setdefault(int(match.group(1)), []).append(message)
    for number, found in load.answered.items():
        load.delays_s.append(found[0].created - load.asked[number].created)
    load.too_soon = list(house.server.rest.limits.refused)
    return load


async def _ask(actor: Actor, load: Load, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    begin, moment = loop.time(), random.uniform(0, EVERY_S)
    while moment < seconds:
        await asyncio.sleep(begin + moment - loop.time())
        number = len(load.asked)
        load.asked[number] = actor.slash("imagine", prompt=f"fox number {number}")
        moment += EVERY_S
