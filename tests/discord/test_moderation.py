"""What is shown where on Discord, whose pictures may be edited, and who is an admin."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import discord
import pytest

from adapters.discord import texts
from adapters.discord.client import application_owner_ids
from bot.models import IMAGE_TEXT_TO_IMAGE
from bot.safety import SafetySettings
from tests.discord.app_fixture import MODELS, House, opened
from tests.discord.loopback.discord_server_state import EVERYTHING, SEND, Message, Person
from tests.discord.loopback.server import Loopback
from tests.discord.simulated_users import Actor, until
from tests.discord.test_conversation import a_photo, imagined
from tests.discord.test_places import foreign
from tests.moderation import SOME_WEIGHTS

EDITOR = replace(MODELS[0], name="edit", tasks=(IMAGE_TEXT_TO_IMAGE,))


@contextlib.asynccontextmanager
async def living(
    data_dir: Path, server: Loopback, *, admins: tuple[str, ...] = (), **safety: Any
) -> AsyncIterator[House]:
    settings = SafetySettings(**{"classifier": SOME_WEIGHTS, **safety})
    async with opened(data_dir, server, with_models=(*MODELS, EDITOR), safety=settings, admins=admins) as house:
        house.start()
        await house.ready()
        yield house


def adults(ann: Actor) -> Actor:
    """In an age-restricted channel of the same server."""
    return ann.at(ann.server.world.channel(nsfw=True))


async def ended(ann: Actor) -> Message:
    """The next message, once it says that nothing came of it."""
    message = await ann.posted()
    await until(lambda: "weren't charged" in message.content, "a refusal")
    return message


async def told(made: Any) -> str:
    await until(lambda: made.texts, "words")
    return str(made.texts[-1])


async def test_a_sexual_picture_is_thrown_away_and_told_calmly(data_dir: Path, server: Loopback, ann: Actor) -> None:
    async with living(data_dir, server):
        there = adults(ann)
        there.slash("imagine", prompt="a nude statue")

        message = await ended(there)

    assert message.attachments == []
    assert "thrown away" in message.content


@pytest.mark.parametrize(("policy", "spoiler"), [("spoiler", True), ("allow", False)])
async def test_adults_among_themselves_see_what_their_server_wants(
    data_dir: Path, server: Loopback, ann: Actor, policy: str, spoiler: bool
) -> None:
    async with living(data_dir, server) as house:
        space: Any = {"platform": "discord", "space_id": str(ann.channel.guild.id)}
        await house.inner.usecases.moderation.set_policy(is_admin=True, **space, policy=policy)

        shown = await imagined(adults(ann), "a nude statue")
        harmless = await imagined(adults(ann), "a statue")
        ann.slash("imagine", prompt="a nude statue")
        elsewhere = await ended(ann)

    assert [one.attachments[0].is_spoiler for one in (shown, harmless)] == [spoiler, False]
    assert elsewhere.attachments == []


async def test_private_chats_and_places_without_the_bot_are_no_adult_channels(
    data_dir: Path, server: Loopback, ann: Actor
) -> None:
    async with living(data_dir, server, policy="allow"):
        private = ann.at(server.world.dm(ann.person))
        private.slash("imagine", prompt="a nude statue")
        there = foreign(ann)
        there.channel.nsfw = True
        made = there.slash("imagine", prompt="a nude statue")

        assert (await ended(private)).attachments == []
        await until(lambda: made.messages and "weren't charged" in made.messages[0].content, "a refusal")
        assert made.messages[0].attachments == []


async def test_a_picture_for_adults_does_not_follow_its_person_into_a_private_chat(
    data_dir: Path, server: Loopback, ann: Actor
) -> None:
    async with living(data_dir, server, policy="allow") as house:
        there = ann.at(server.world.channel(nsfw=True, permissions=EVERYTHING & ~SEND))
        made = there.slash("imagine", prompt="a slow nude statue", steps=10)
        await until(lambda: made.messages and "Working" in made.messages[0].content, "progress")
        server.world.move_on(14.5 * 60)
        house.pool.go_on.set()

        message = await ann.at(server.world.dm(ann.person)).finished()

    assert message.attachments == []


async def test_a_picture_for_adults_is_not_shown_again_where_children_may_be(
    data_dir: Path, server: Loopback, ann: Actor
) -> None:
    async with living(data_dir, server, policy="allow") as house:
        there = adults(ann)
        await imagined(there, "a nude statue")
        tickets, _ = await house.inner.usecases.jobs.page(await house.person(ann.person.id))
        job_id = tickets[0].job.id[:6]

        refused = ann.slash("show", id=job_id)
        again = there.slash("show", id=job_id)

        assert "not shown here" in await told(refused)
        await until(lambda: again.messages and again.messages[0].attachments, "the picture")
        assert not any(one.attachments for one in refused.messages)


async def test_blocked_words_are_refused_in_a_sentence_that_does_not_repeat_them(
    data_dir: Path, server: Loopback, ann: Actor
) -> None:
    async with living(data_dir, server, blocked_words=("broccoli",)):
        said = await told(ann.slash("imagine", prompt="b r o c c o l i soup"))

    assert "other words" in said
    assert "occoli" not in said
    assert ann.channel.from_bot == []


async def test_without_a_classifier_strangers_are_told_and_admins_are_served(
    data_dir: Path, server: Loopback, ann: Actor, bob: Actor
) -> None:
    async with living(data_dir, server, classifier="models/none", admins=(str(bob.person.id),)) as house:
        refused = await told(ann.slash("imagine", prompt="unseen"))
        served = await imagined(bob, "unseen")

        assert house.discord.is_admin(str(bob.person.id))
        assert not house.discord.is_admin(str(ann.person.id))

    assert "easel models use paint" in refused
    assert served.attachments[0].is_spoiler
    assert "Nobody checked" in served.content


async def test_the_applications_owner_is_an_admin(house: House, server: Loopback, ann: Actor) -> None:
    [owner] = house.discord.context.owner_ids
    actor = Actor(server, Person(int(owner), "owner"), ann.channel)

    made = await imagined(actor)

    job = await house.inner.usecases.chat.of_message("discord", f"{made.channel.id}:{made.id}")
    assert house.discord.is_admin(owner)
    assert job is not None
    assert job.origin.is_admin
    assert not house.discord.is_admin(str(ann.person.id))


def test_a_teams_members_own_the_application_unless_they_only_look() -> None:
    accepted, invited = discord.TeamMembershipState.accepted, discord.TeamMembershipState.invited
    role = discord.TeamMemberRole
    members = [
        SimpleNamespace(id=1, membership_state=accepted, role=role.admin),
        SimpleNamespace(id=2, membership_state=accepted, role=role.read_only),
        SimpleNamespace(id=3, membership_state=invited, role=role.admin),
        SimpleNamespace(id=4, membership_state=accepted, role=role.developer),
    ]
    client: Any = SimpleNamespace(application=SimpleNamespace(team=SimpleNamespace(members=members)))

    assert application_owner_ids(client) == {"1", "4"}
    assert application_owner_ids(SimpleNamespace(application=None)) == frozenset()  # type: ignore[arg-type]


# ---------------------------------------------------------------- whose picture it is


async def test_somebody_elses_photo_may_be_asked_about_and_not_edited(
    data_dir: Path, server: Loopback, ann: Actor, bob: Actor
) -> None:
    async with living(data_dir, server):
        photo = bob.say("look", a_photo(server), mention=False)

        refused = await ann.submit(ann.menu(texts.VARY_THIS, photo), "as a painting")
        said = await told(refused)
        ann.menu(texts.CAPTION_THIS, photo)
        caption = await ann.finished()
        edit = ann.press_anyhow(caption, caption.button("ask").replace(":ask:", ":edit:"))
        refused_too = await told(await ann.submit(edit, "a hat"))
        own = await bob.submit(bob.menu(texts.VARY_THIS, photo), "as a painting")
        varied = await bob.finished(2)

    assert "other people's pictures" in said
    assert "It is a picture" in caption.content
    assert "other people's pictures" in refused_too
    assert varied.attachments
    assert own is not None


async def test_what_began_with_ones_photo_is_not_remade_by_others(
    data_dir: Path, server: Loopback, ann: Actor, bob: Actor
) -> None:
    async with living(data_dir, server) as house:
        ann.slash("imagine", prompt="as a painting", image=a_photo(server))
        made = await ann.finished()

        refused = await told(bob.press(made, "reroll"))
        bob.press(made, "vary")  # of what the bot made of it
        varied = await bob.finished(2)
        space = {"platform": "discord", "space_id": str(ann.channel.guild.id)}
        await house.inner.usecases.moderation.set_policy(is_admin=True, **space, edit_others=True)
        bob.press(made, "reroll")
        again = await bob.finished(3)

    assert "other people's pictures" in refused
    assert varied.attachments
    assert again.attachments


async def test_whose_a_forwarded_picture_is_nobody_knows(
    data_dir: Path, server: Loopback, ann: Actor, bob: Actor
) -> None:
    async with living(data_dir, server):
        photo = Message(1, ann.channel, bob.person, attachments=[a_photo(server)])
        forward = server.world.post(ann.channel, ann.person, snapshots=[photo])

        said = await told(await ann.submit(ann.menu(texts.VARY_THIS, forward), "as a painting"))

    assert "other people's pictures" in said
