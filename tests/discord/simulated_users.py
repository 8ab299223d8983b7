"""People on the loopback Discord: they type commands, press buttons, write messages, and wait for what comes."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.discord.loopback.discord_server_state import DM, GROUP, Attachment, Channel, Interaction, Message, Person
from tests.discord.loopback.server import Loopback

PATIENCE_S = 60.0
"""Nothing waits so long but on a machine that has much else to do."""
COMPONENT, COMMAND, COMPLETE, MODAL = 3, 2, 4, 5
MENU = 3
"""The type of a select menu among components."""
KINDS = {str: 3, int: 4, bool: 5, float: 10, Attachment: 11}


async def until(true: Callable[[], Any], what: str = "", patience_s: float = PATIENCE_S, every_s: float = 0.01) -> Any:
    """The value, once it is one. Fails with `what` after a while."""
    deadline = time.monotonic() + patience_s
    while not (value := true()):
        assert time.monotonic() < deadline, f"waited in vain: {what or true}"
        await asyncio.sleep(every_s)
    return value


@dataclass
class SimulatedUser:
    """One person in one channel. Only registered commands can be typed."""

    server: Loopback
    person: Person
    channel: Channel
    context: int | None = None

    def in_channel(self, channel: Channel) -> "SimulatedUser":
        return SimulatedUser(self.server, self.person, channel)

    # ------------------------------------------------------------ interactions

    def _send(self, kind: int, data: dict[str, Any], **more: Any) -> Interaction:
        state, channel, person = self.server.state, self.channel, self.person
        made = Interaction(state.new_id(), f"token-{state.new_id()}", kind, person, channel, state.now(), **more)
        state.interactions[made.token] = made
        self.server.gateway.dispatch("INTERACTION_CREATE", self._payload(made, data))
        return made

    def _payload(self, made: Interaction, data: dict[str, Any]) -> dict[str, Any]:
        channel, guild, state = self.channel, self.channel.guild, self.server.state
        context = 0 if guild else 1 if channel.kind == DM else 2
        owners = {"1": str(self.person.id)}
        if guild is not None and guild.has_bot:
            owners["0"] = str(guild.id)
        payload: dict[str, Any] = {
            "id": str(made.id),
            "application_id": str(state.application_id),
            "type": made.kind,
            "data": data,
            "token": made.token,
            "version": 1,
            "locale": self.person.locale,
            "entitlements": [],
            "channel_id": str(channel.id),
            "channel": channel.json(),
            "context": context,
            "app_permissions": str(channel.permissions),
            "authorizing_integration_owners": owners,
            "attachment_size_limit": guild.size_limit if guild else 10 * 2**20,
        }
        if guild is not None:
            member = {"user": self.person.json(), "roles": [], "permissions": "8", "deaf": False, "mute": False}
            member |= {"joined_at": "2026-01-01T00:00:00+00:00", "flags": 0}
            locale = {"guild_locale": "en-US"}
            payload |= {
                "guild_id": str(guild.id),
                "member": member,
                **locale,
                "guild": {"id": str(guild.id), "features": []},
            }
        else:
            payload["user"] = self.person.json()
        if made.message is not None:
            payload["message"] = made.message.json()
        return payload

    def _command(self, name: str) -> dict[str, Any]:
        known = {one["name"]: one for one in self.server.state.commands}
        assert name in known, f"Discord does not know /{name}, only {sorted(known)}"
        return known[name]

    def slash(self, name: str, **options: Any) -> Interaction:
        command = self._command(name)
        allowed = {one["name"]: one for one in command.get("options", [])}
        for option, value in options.items():
            assert option in allowed, f"/{name} has no option {option}"
            assert allowed[option]["type"] in (KINDS[type(value)], 10), (option, value)
        lacking = [one for one, told in allowed.items() if told.get("required") and one not in options]
        assert not lacking, f"/{name} needs {lacking}"
        return self.slash_unchecked(name, options)

    def slash_unchecked(self, name: str, options: dict[str, Any]) -> Interaction:
        """As a client with an old list of commands would send it."""
        files = {str(one.id): one.json() for one in options.values() if isinstance(one, Attachment)}
        told = [
            {"name": key, "type": KINDS[type(one)], "value": str(one.id) if isinstance(one, Attachment) else one}
            for key, one in options.items()
        ]
        data = {"id": "1", "name": name, "type": 1, "options": told, "resolved": {"attachments": files}}
        return self._send(COMMAND, data)

    def menu(self, name: str, message: Message) -> Interaction:
        self._command(name)
        resolved = {"messages": {str(message.id): message.json()}}
        data = {"id": "1", "name": name, "type": 3, "target_id": str(message.id), "resolved": resolved}
        return self._send(COMMAND, data)

    async def complete(self, name: str, option: str, typed: str) -> list[Any]:
        """The names that Discord would list."""
        focused = {"name": option, "type": 3, "value": typed, "focused": True}
        made = self._send(COMPLETE, {"id": "1", "name": name, "type": 1, "options": [focused]})
        await until(lambda: made.answers, f"completions of {option}")
        assert made.answers[0]["type"] == 8
        return list(made.answers[0]["data"]["choices"])

    def press(self, message: Message, action: str) -> Interaction:
        return self.press_unchecked(message, message.button(action))

    def press_unchecked(self, message: Message, custom_id: str) -> Interaction:
        """Any id, as a forger would send it."""
        if custom_id not in message.buttons:
            button = {"type": 2, "style": 2, "custom_id": custom_id, "label": "?"}
            *rows, last = message.components or [{"type": 1, "components": []}]
            message.components = [*rows, {**last, "components": [*last["components"][:4], button]}]
        data = {"custom_id": custom_id, "component_type": 2}
        return self._send(COMPONENT, data, message=message)

    def choose(self, message: Message, label: str) -> Interaction:
        """The option of a menu under the message whose label begins so."""
        menus = [one for row in message.components for one in row["components"] if one["type"] == MENU]
        found = [(menu, one) for menu in menus for one in menu["options"] if one["label"].startswith(label)]
        assert found, [one["label"] for menu in menus for one in menu["options"]]
        menu, option = found[0]
        data = {"custom_id": menu["custom_id"], "component_type": MENU, "values": [option["value"]]}
        return self._send(COMPONENT, data, message=message)

    async def submit(self, opened: Interaction, *words: str) -> Interaction:
        """Write into the fields of the modal that an interaction opened, and send it."""
        modal = await until(lambda: opened.modal, "a modal")
        assert len(modal["components"]) == len(words)
        return self.submit_unchecked(modal["custom_id"], *words, message=opened.message)

    def submit_unchecked(self, custom_id: str, *words: str, message: Message | None = None) -> Interaction:
        fields = [{"type": 4, "id": 2, "custom_id": f"words{n}", "value": one} for n, one in enumerate(words)]
        components = [{"type": 18, "id": 1, "component": field} for field in fields]
        return self._send(MODAL, {"custom_id": custom_id, "components": components}, message=message)

    # ------------------------------------------------------------ messages

    def write_message(
        self, content: str = "", *files: Attachment, reply_to: Message | None = None, mention: bool = True, **more: Any
    ) -> Message:
        """Write a message. A reply pings the author of the message, as Discord does by default."""
        state = self.server.state
        mentions = []
        if mention and (reply_to is None or reply_to.author is not state.bot) and self.channel.kind not in (DM, GROUP):
            content = f"<@{state.bot.id}> {content}"
            mentions.append(state.bot)
        if mention and reply_to is not None:
            mentions.append(reply_to.author)
        replied = reply_to.id if reply_to is not None else None
        made = state.post(
            self.channel, self.person, content, attachments=list(files), reply_to=replied, mentions=mentions, **more
        )
        self.server.rest._dispatch("MESSAGE_CREATE", made)
        return made

    # ------------------------------------------------------------ waiting

    async def posted(self, count: int = 1) -> Message:
        """The bot's message number `count` (from 1) of this channel."""
        await until(lambda: len(self.channel.from_bot) >= count, f"message {count} in {self.channel.id}")
        return self.channel.from_bot[count - 1]

    async def finished(self, count: int = 1) -> Message:
        """The same, once it carries a result."""
        message = await self.posted(count)
        await until(lambda: is_finished(message), f"the end of {message.content!r} {message.buttons}")
        return message

    async def private_reply(self, made: Interaction) -> str:
        """What the person alone reads as the answer to an interaction."""
        await until(lambda: made.texts, "words to the person")
        return made.texts[-1]


def is_finished(message: Message) -> bool:
    return bool(message.buttons) and not any(one.startswith("v1:cancel") for one in message.buttons)
