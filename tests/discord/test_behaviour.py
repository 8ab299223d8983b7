"""Discord's behaviour as simcord plays it: the real client and its parsers, permissions, and lists of commands.

simcord knows no uploads' bytes, no nonces and no limits of rate or size, and answers by an interaction's token only to
tasks that the bot itself started, which ours for deliveries are not: all that is tested on our own loopback server.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import discord
import simcord

from adapters.discord import texts
from adapters.discord.client import EaselClient
from tests.discord.app_fixture import DiscordApp, open_app
from tests.discord.loopback.server import loopback
from tests.discord.simulated_users import until


@dataclass
class Sim:
    env: simcord.Env
    app: DiscordApp
    guild: simcord.GuildHandle
    channel: simcord.ChannelHandle
    ann: simcord.MemberActor
    bob: simcord.MemberActor

    async def bot_messages(self, count: int = 1) -> list[discord.Message]:
        """The bot's messages in the channel, once there are so many and all are finished."""

        def found() -> list[discord.Message]:
            return [one for one in self.channel.history() if one.author.bot]

        def is_done(message: discord.Message) -> bool:
            ids = [child.custom_id for row in message.components for child in row.children]
            return bool(ids) and not any(str(one).startswith("v1:cancel") for one in ids)

        await until(lambda: len(found()) >= count and all(map(is_done, found())), "the bot's messages")
        return found()


@contextlib.asynccontextmanager
async def simulated(data_dir: Path) -> AsyncIterator[Sim]:
    """Not a fixture: simcord keeps its clock in the context of the test itself."""
    async with loopback() as unused, open_app(data_dir, unused) as app:
        desk = app.discord.context
        client = EaselClient(desk, app.discord.event_handler)
        async with simcord.run(client, shard_count=1, approved_intents=client.intents, settle_timeout=60.0) as env:
            desk.client = client
            await client.tree.sync()
            app.tasks = [
                asyncio.create_task(run())
                for run in (app.application.dispatcher.run_forever, app.application.deliverer.run_forever)
            ]
            guild = env.create_guild()
            channel = guild.create_text_channel("pictures")
            ann, bob = (guild.add_member(env.create_user(name)) for name in ("ann", "bob"))
            yield Sim(env, app, guild, channel, ann, bob)
            await app.kill()
            await app.discord.event_handler.stop()


async def test_a_prompt_is_deferred_and_becomes_a_message_of_the_bots(data_dir: Path) -> None:
    async with simulated(data_dir) as sim:
        result = await sim.ann.slash(sim.channel, "imagine", prompt="a red fox")

        messages = await sim.bot_messages()

        assert result.acknowledged
        assert "a red fox" in messages[0].content
        assert not messages[0].embeds
        assert len(messages[0].attachments) == 1


async def test_a_reply_that_pings_asks_without_the_content_intent(data_dir: Path) -> None:
    async with simulated(data_dir) as sim:
        await sim.ann.slash(sim.channel, "imagine", prompt="a red fox")
        made = (await sim.bot_messages())[0]

        await sim.bob.send(sim.channel, "what is it?", reply_to=made)

        assert "It is what is it?" in (await sim.bot_messages(2))[1].content


async def test_messages_that_are_not_for_the_bot_are_ignored(data_dir: Path) -> None:
    async with simulated(data_dir) as sim:
        await sim.ann.send(sim.channel, "what is it?")
        await sim.ann.slash(sim.channel, "imagine", prompt="a red fox")

        assert len(await sim.bot_messages()) == 1


async def test_the_ask_menu_opens_a_modal_and_its_words_are_answered(data_dir: Path) -> None:
    async with simulated(data_dir) as sim:
        await sim.ann.slash(sim.channel, "imagine", prompt="a red fox")
        made = (await sim.bot_messages())[0]

        opened_modal = await sim.bob.context_menu(sim.channel, texts.ASK_ABOUT, made)
        await sim.bob.submit_modal(opened_modal, {"words": "what is it?"})

        assert "It is what is it?" in (await sim.bot_messages(2))[1].content


async def test_buttons_of_an_earlier_client_work(data_dir: Path) -> None:
    async with simulated(data_dir) as sim:
        await sim.ann.slash(sim.channel, "imagine", prompt="a red fox")
        made = (await sim.bot_messages())[0]
        again = EaselClient(sim.app.discord.context, sim.app.discord.event_handler)
        await sim.env.restart_bot(again)
        sim.app.discord.context.client = again

        await sim.bob.click(made, label="Reroll")

        assert len(await sim.bot_messages(2)) == 2


async def test_short_answers_are_for_the_person_alone(data_dir: Path) -> None:
    async with simulated(data_dir) as sim:
        result = await sim.ann.slash(sim.channel, "help")
        await until(lambda: result.response is not None and result.response.content, "the answer")

        assert result.ephemeral
        assert "/imagine" in result.response.content


async def test_completions_come_from_the_core(data_dir: Path) -> None:
    async with simulated(data_dir) as sim:
        result = await sim.ann.autocomplete(sim.channel, "imagine", "model", "p")

        assert [one["value"] for one in result] == ["paint"]
