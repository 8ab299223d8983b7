"""Mutated events of both platforms: each is dropped alone, and what comes after it is handled."""

import json
import logging
import random
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from tests.discord.app_fixture import open_app
from tests.discord.loopback.server import loopback
from tests.discord.mutated_events import mutated_events
from tests.discord.simulated_users import SimulatedUser, until
from tests.fuzz.findings import Findings
from tests.fuzz.forged_chat import forge_update, real_update
from tests.fuzz.target import FuzzTarget
from tests.telegram.easel_fixture import build_app
from tests.telegram.server import run_bot_server

BATCH = 20
logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # the loopback servers' own, when clients leave


async def dispatch_mutated_events(_target: FuzzTarget, findings: Findings, *, count: int, rng: random.Random) -> None:
    """Through a gateway: the session is kept, and a command after every batch is answered."""
    with tempfile.TemporaryDirectory() as folder:
        async with loopback() as server:
            server.state.guild()
            server.rest.limits.is_lenient = True
            ann = SimulatedUser(server, server.state.person("ann"), server.state.channel())
            async with open_app(Path(folder), server) as app:
                app.start()
                await app.wait_until_ready()
                for number, (name, body) in enumerate(mutated_events(ann, count, rng)):
                    server.gateway.dispatch(name, body)
                    findings.count(name, body)
                    if number % BATCH == 0:
                        asked = ann.slash("models")
                        await until(partial(getattr, asked, "texts"), f"an answer after {str(body)[:500]}")
                findings.expect(server.gateway.log == ["identify"], f"the session was lost: {server.gateway.log}")


def without_cycles(update: dict[str, Any]) -> dict[str, Any]:
    """What JSON can carry."""
    try:
        return dict(json.loads(json.dumps(update)))
    except ValueError:
        return {"update_id": 1}


async def poll_mutated_updates(_target: FuzzTarget, findings: Findings, *, count: int, rng: random.Random) -> None:
    """Through getUpdates: a whole update in each batch is handled."""
    with tempfile.TemporaryDirectory() as folder:
        async with run_bot_server(scale=0.01) as server, build_app(Path(folder), server) as app:
            mutated: list[Any] = []
            ask = server.methods.getUpdates

            async def ask_for_mixed(params: Any, files: Any) -> Any:
                found = await ask(params, files)
                batch, mutated[:] = list(mutated), []
                return [*batch, *found]

            server.methods.getUpdates = ask_for_mixed  # type: ignore[method-assign, assignment]
            await app.open()
            for start in range(0, count, BATCH):
                person = app.state.person(f"P{start}")
                chat = app.state.private(person)
                for number in range(start, min(count, start + BATCH)):
                    update = without_cycles(forge_update(real_update(app, person, 10**6 + number, rng), rng))
                    mutated.append(rng.choice((update, update, update, number, None, [update], "update")))
                    findings.count("update", str(update)[:80])
                app.state.send_message(chat, person, "/quota")
                await app.until(partial(app.state.bot_messages, chat))
                findings.expect(app.serving is not None and not app.serving.done(), "the adapter ended")
