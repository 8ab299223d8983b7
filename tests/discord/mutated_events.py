"""Events of Discord's real shapes with something wrong in them, for tests and for `make fuzz`."""

import copy
import random
from collections.abc import Iterator
from typing import Any

from tests.discord.loopback.discord_server_state import Message
from tests.discord.simulated_users import COMMAND, SimulatedUser
from tests.web.fake_pool import picture

WRONG: tuple[Any, ...] = (None, 7, -1, "text", [], {}, [None], {"a": 1}, 2**70, True, 1.5)
MISSING = object()


def real_events(ann: SimulatedUser) -> list[tuple[str, dict[str, Any]]]:
    """What a gateway sends: messages, interactions, and the events about servers, channels and threads."""
    state = ann.server.state
    photo = state.file("photo.png", picture(3, 8, 8))
    replied = Message(state.new_id(), ann.channel, state.bot, "an answer", attachments=[photo])
    forwarded = Message(state.new_id(), ann.channel, ann.person, "", attachments=[photo])
    message = Message(
        state.new_id(), ann.channel, ann.person, "what is it?", attachments=[photo], mentions=[state.bot],
        reply_to=replied.id, snapshots=[forwarded],
    )  # fmt: skip
    body = {**message.json(), "referenced_message": replied.json(nested=False)}
    guild = ann.channel.guild
    assert guild is not None
    deleted = {"id": str(message.id), "channel_id": str(ann.channel.id), "guild_id": str(guild.id)}
    return [
        ("MESSAGE_CREATE", body),
        ("MESSAGE_UPDATE", body),
        ("MESSAGE_DELETE", deleted),
        ("INTERACTION_CREATE", _command(ann, photo.json())),
        ("GUILD_CREATE", state.guild().json()),
        ("GUILD_DELETE", {"id": str(state.new_id()), "unavailable": True}),
        ("CHANNEL_CREATE", state.channel().json()),
        ("THREAD_CREATE", state.channel(kind=11, parent=ann.channel).json()),
        ("GUILD_ROLE_CREATE", {"guild_id": str(guild.id), "role": guild.json()["roles"][0]}),
    ]


def _command(ann: SimulatedUser, attachment: dict[str, Any]) -> dict[str, Any]:
    from tests.discord.loopback.discord_server_state import Interaction

    state = ann.server.state
    made = Interaction(state.new_id(), f"token-{state.new_id()}", COMMAND, ann.person, ann.channel, state.now())
    options = [{"name": "image", "type": 11, "value": attachment["id"]}]
    resolved = {"attachments": {attachment["id"]: attachment}}
    return ann._payload(made, {"id": "1", "name": "caption", "type": 1, "options": options, "resolved": resolved})


def paths(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in children:
        yield (*path, key)
        yield from paths(value, (*path, key))


def mutate(body: dict[str, Any], path: tuple[Any, ...], wrong: Any) -> dict[str, Any]:
    """The body with another value at this path, or without it (`MISSING`)."""
    mutated: Any = copy.deepcopy(body)
    node = mutated
    for key in path[:-1]:
        node = node[key]
    if wrong is MISSING:
        del node[path[-1]]
    else:
        node[path[-1]] = wrong
    return dict(mutated)


def mutated_events(ann: SimulatedUser, count: int, rng: random.Random) -> Iterator[tuple[str, dict[str, Any]]]:
    events = real_events(ann)
    for _ in range(count):
        name, body = rng.choice(events)
        for _ in range(rng.choice((1, 1, 2, 4))):
            body = mutate(body, rng.choice(list(paths(body))), rng.choice((*WRONG, MISSING, MISSING)))
            if not body:
                break
        yield name, body
