"""Many people in many chats, each asking again and again: what the suite does for ten seconds and the benchmark for two
minutes. Telegram's limits are at their full size here."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from tests.telegram.easel_fixture import TelegramApp, has_button
from tests.telegram.telegram_server_state import Message


@dataclass
class Load:
    """What came of it. `waits_s`: from the update being there to the placeholder standing in the chat."""

    asked: int = 0
    answered: int = 0
    refused: int = 0
    problems: list[str] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        ranked = sorted(self.waits_s)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


async def run_load(
    app: TelegramApp, *, chats: int = 100, people: int = 2, every_s: float = 20.0, lasts_s: float = 10.0
) -> Load:
    """Each person asks once in `every_s`, beginning at a moment of their own. Returns when everything is answered."""
    state, load, asked_at = app.state, Load(), {}
    dice = random.Random(4)
    began = asyncio.get_running_loop().time()

    async def live(chat: Message, person: Message) -> None:
        due = began + dice.uniform(0, every_s)
        while due < began + lasts_s:
            await asyncio.sleep(due - asyncio.get_running_loop().time())
            message = state.send_message(chat, person, f"/imagine a fox {load.asked}")
            asked_at[chat["id"], message["message_id"]] = asyncio.get_running_loop().time()
            load.asked += 1
            due += every_s

    places = [state.group(f"Chat {number}") for number in range(chats)]
    async with asyncio.TaskGroup() as group:
        for place in places:
            for number in range(people):
                group.create_task(live(place, state.person(f"P{number}")))
    await _settle(app, places, load)
    placed = {
        (call.chat, call.params["reply_parameters"]["message_id"]): call.at
        for call in reversed(app.server.called("sendMessage"))
    }
    load.waits_s = [placed[key] - at for key, at in asked_at.items() if key in placed]
    load.refused, load.problems = len(app.server.flood_limits.refused), list(app.server.problems)
    return load


async def _settle(app: TelegramApp, places: Sequence[Message], load: Load) -> None:
    deadline = asyncio.get_running_loop().time() + 120
    while load.answered < load.asked and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(0.2)
        load.answered = sum(has_button(one, "original") for place in places for one in app.state.bot_messages(place))
