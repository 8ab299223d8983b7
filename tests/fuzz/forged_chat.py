"""Forged buttons and webhook bodies: each is answered or refused, and none reaches what is another person's."""

import asyncio
import copy
import json
import random
import secrets
import socket
import tempfile
import traceback
from pathlib import Path
from typing import Any

import httpx2

from adapters.telegram.adapter import WEBHOOK_SECRET_VARIABLE
from adapters.telegram.webhook import SECRET_HEADER
from bot.chat.buttons import ACTIONS
from bot.chat.commands import CHAT_COMMANDS
from bot.chat.follow_ups import JOB_ACTIONS
from bot.commands import COMMANDS
from bot.jobs import ID_ALPHABET, ID_LENGTH
from tests.chat_adapter.line_chat import LineChat
from tests.fuzz.findings import Findings
from tests.fuzz.hostile_prompts import VALUES, hostile_prompt
from tests.fuzz.target import FuzzTarget
from tests.telegram.easel_fixture import TelegramApp, build_app
from tests.telegram.server import run_bot_server
from tests.web.api_client import imagine, make

SECRET_WORDS = "an unmistakable heron"
SECRET = "a-secret-of-the-fuzzer-1234"
IDLE_TIMEOUT_S = 30.0


def forge_button(rng: random.Random, job_ids: list[str]) -> str:
    """With one of the ids, no follow-up: it needs a message of the job, which platforms check before."""
    random_id = "".join(rng.choices(ID_ALPHABET, k=ID_LENGTH))
    job_id = rng.choice((*job_ids, random_id, "welcomeexamples2", hostile_prompt(rng)))
    actions = (*ACTIONS, "forget", "confirm", "vary.strong", "zoom.15", "pan.left", hostile_prompt(rng))
    action = rng.choice([one for one in actions if job_id not in job_ids or one.partition(".")[0] not in JOB_ACTIONS])
    version, number = (
        rng.choice(("v1", "v1", "v1", "v0", "v2", "")),
        rng.choice(("", "", ":1", ":0", ":99", ":-1", ":٣")),
    )
    data = f"{version}:{action}:{job_id}{number}"
    return rng.choice((data, data, data, data[: rng.randrange(64)], hostile_prompt(rng)))


async def press_forged_buttons(target: FuzzTarget, findings: Findings, *, count: int, rng: random.Random) -> None:
    """Mallory presses and types what names Ann's job."""
    chat = LineChat(target.easel.usecases)
    async with target.open_client(target.ann) as ann:
        job = (await make(ann, imagine(SECRET_WORDS)))["id"]
        for number in range(count):
            try:
                if number % 2:
                    data = forge_button(rng, [job])
                    reply = await chat.press("mallory", data)
                else:
                    words = rng.choice((job, job[:4], hostile_prompt(rng)))
                    data = f"/{rng.choice((*CHAT_COMMANDS, *COMMANDS))} {words}"
                    reply = await chat.receive("mallory", data, chat=rng.choice(("", "group")))
            except Exception as error:
                findings.faults.append(f"{data!r}: {traceback.format_exc(limit=-3)}: {error!r}")
                continue
            findings.count("answered" if reply else "accepted", data)
            findings.expect(SECRET_WORDS not in reply, f"{data!r} shows what is Ann's: {reply!r}")
        answer = await ann.get(f"/api/v1/jobs/{job}")
        findings.expect(answer.status_code == 200, "Ann's job is gone")


def forge_update(update: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """The update with a few of its values replaced, removed or repeated."""
    forged = copy.deepcopy(update)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        node: Any = forged if rng.random() < 0.1 else forged.get("message", forged.get("callback_query"))
        while isinstance(node, dict | list) and node:
            key = rng.choice(list(node)) if isinstance(node, dict) else rng.randrange(len(node))
            if not isinstance(node[key], dict | list) or rng.random() < 0.15:
                is_text = isinstance(node[key], str) and rng.random() < 0.7
                node[key] = hostile_prompt(rng) if is_text else rng.choice((*VALUES, -(10**18), node))
                break
            node = node[key]
    return forged


def to_body(update: dict[str, Any], rng: random.Random) -> bytes:
    try:
        body = json.dumps(update).encode()
    except ValueError:  # it contains itself
        body = b"[" * rng.randrange(100_000)
    return body if rng.random() < 0.9 else body[: rng.randrange(len(body) + 1)] + rng.randbytes(rng.randrange(20))


async def post_forged_updates(_target: FuzzTarget, findings: Findings, *, count: int, rng: random.Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with run_bot_server(scale=0.01) as server, build_app(Path(folder), server) as app:
            url = await _open_webhook(app)
            ann = app.state.person("Ann")
            async with httpx2.AsyncClient(timeout=30, trust_env=False) as client:
                for number in range(count):
                    secret = SECRET if rng.random() < 0.95 else secrets.token_hex(8)
                    body = to_body(forge_update(real_update(app, ann, number, rng), rng), rng)
                    answer = await client.post(url, content=body, headers={SECRET_HEADER: secret})
                    findings.count(answer.status_code, body[:80])
                    expected = (200, 400) if secret == SECRET else (403,)
                    findings.expect(answer.status_code in expected, f"{answer.status_code} for {body[:500]!r}")
            findings.statuses["updates not handled in time"] += await _wait_until_handled(app)


async def _open_webhook(app: TelegramApp) -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/telegram"
    app.secrets[WEBHOOK_SECRET_VARIABLE] = SECRET
    await app.open(mode="webhook", webhook_url=url, webhook_port=port)
    await app.until(lambda: app.server.methods.webhook)
    return url


def real_update(app: TelegramApp, person: dict[str, Any], number: int, rng: random.Random) -> dict[str, Any]:
    """An update of the kinds that Telegram sends: text, a button, a photo with a caption, an album's part."""
    chat = app.state.private(person) if rng.random() < 0.5 else app.state.group()
    text = f"/{rng.choice((*CHAT_COMMANDS, *COMMANDS, 'start'))} {hostile_prompt(rng)}"[:4000]
    message = {
        "message_id": number + 1, "date": 1_700_000_000, "chat": dict(chat), "from": dict(person), "text": text,
        "entities": [{"type": "bot_command", "offset": 0, "length": 5}],
    }  # fmt: skip
    match rng.randrange(4):
        case 0:
            press = {"id": str(number), "from": dict(person), "chat_instance": "1", "message": message}
            return {"update_id": number + 1, "callback_query": {**press, "data": forge_button(rng, [])[:64]}}
        case 1:
            photo = [{"file_id": "x", "file_unique_id": "x", "width": 9, "height": 9, "file_size": 99}]
            message |= {"photo": photo, "caption": message.pop("text"), "caption_entities": message.pop("entities")}
        case 2:
            message["reply_to_message"] = {**message, "message_id": 1}
    return {"update_id": number + 1, "message": message}


async def _wait_until_handled(app: TelegramApp) -> int:
    """The number of updates that are still waiting."""
    deadline = asyncio.get_running_loop().time() + IDLE_TIMEOUT_S
    while waiting := await app.storage.inbox.pending_events("telegram"):
        if asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(0.1)
    return len(waiting)
