"""Hostile prompts and option values through the quote route: every one is priced or refused, soon."""

import json
import random
from typing import Any

from bot.commands import COMMANDS
from tests.fuzz.findings import Findings, Stopwatch
from tests.fuzz.target import FuzzTarget

FRAGMENTS = (
    "a red circle", "((((", "))))", "(a:1.3)", "(a:1e999)", "(a:nan)", "(a:-0)", "[a:b:0.5]", "{a|b}",
    "{a|{b|{c|d}}}", "{", "|", "}", "{|}", "__animal__", "__../../etc/passwd__", "__*__", "____", "<lora:ink:0.8>",
    "<lora:../x:9e999>", "<lora:::>", "<", ":", "\\", "\\(", "--steps 9", "--seed=", "--", "\x00", "\r\n", "\u202e",
    "\u200b", "\ufeff", "\ud800", "\udc00", "e\u0301", "\u0301" * 40, "\U000e0041", "\U0001f468\u200d\U0001f469",
    "ﷺ", "\u0130", "ß", "%s%n", "{0}", "{{7*7}}", "${jndi:ldap://x}", "'; DROP TABLE job;--", "<script>", "a" * 300,
    "BREAK", "AND", ",,,,", "\t", "9" * 400, "\U0010ffff",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 2**31, 2**63, 2**64, 10**30, 1.5, 1e308, "1e999", "NaN", "", " ", "\x00", "auto", "9x9",
    "1:0", [], [[]], {}, {"a": 1}, "٣", "½", "0x10", "1_000", "-0", "\ud800",
)  # fmt: skip
ALLOWED = {200, 403, 404, 413, 422, 429}


def hostile_prompt(rng: random.Random) -> str:
    separator = rng.choice(("", "", " ", ", ", "\n"))
    return separator.join(rng.choice(FRAGMENTS) * rng.choice((1, 1, 1, 3, 30)) for _ in range(rng.randint(1, 12)))


def hostile_request(rng: random.Random) -> dict[str, Any]:
    command = rng.choice((*COMMANDS, "imagine", "imagine", "imagine"))
    specs = [spec.name for spec in COMMANDS[command].specs]
    options: dict[str, Any] = {name: hostile_prompt(rng) for name in ("prompt", "question", "texts") if name in specs}
    for _ in range(rng.choice((0, 0, 1, 2, 5))):
        name = rng.choice((*specs, hostile_prompt(rng)))
        options[name] = rng.choice((*VALUES, hostile_prompt(rng)))
    images = [rng.choice(("0" * 64, "", "../x", hostile_prompt(rng)))] * rng.choice((0, 0, 0, 1, 3))
    return {"command": command, "options": options, "images": images}


async def quote_hostile_prompts(target: FuzzTarget, findings: Findings, *, count: int, rng: random.Random) -> None:
    async with target.open_client(target.ann) as client:
        for _ in range(count):
            request, watch = hostile_request(rng), Stopwatch()
            answer = await client.post(
                "/api/v1/quotes", content=json.dumps(request), headers={"Content-Type": "application/json"}
            )
            findings.count(answer.status_code, request, watch.seconds)
            findings.expect(answer.status_code in ALLOWED, f"{answer.status_code} for {json.dumps(request)}")
