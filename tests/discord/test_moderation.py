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
from tests.discord.app_fixture import MODELS, DiscordApp, open_app
from tests.discord.loopback.discord_server_state import EVERYTHING, SEND, Message, Person
from tests.discord.loopback.server import Loopback
from tests.discord.simulated_users import SimulatedUser, until
from tests.discord.test_conversation import a_photo, imagine_and_wait
from tests.discord.test_places import where_bot_is_no_member
from tests.moderation import SOME_WEIGHTS
from tests.new_command import registered  # noqa: F401 - a fixture for all of this module
from tests.web.fake_pool import picture

EDITOR = replace(MODELS[0], name="edit", tasks=(IMAGE_TEXT_TO_IMAGE,))


@contextlib.asynccontextmanager
async def run_app(
    data_dir: Path, server: Loopback, *, admins: tuple[str, ...] = (), models: Any = (*MODELS, EDITOR), **safety: Any
) -> AsyncIterator[DiscordApp]:
    settings = SafetySettings(**{"classifier": SOME_WEIGHTS, **safety})
    async with open_app(data_dir, server, with_models=models, safety=settings, admins=admins) as app:
        app.start()
        await app.wait_until_ready()
        yield app


def adults(ann: SimulatedUser) -> SimulatedUser:
    """In an age-restricted channel of the same server."""
    return ann.in_channel(ann.server.state.channel(nsfw=True))


async def refused_message(ann: SimulatedUser) -> Message:
    """The next message, once it says that nothing came of it."""
    message = await ann.posted()
    await until(lambda: "weren't charged" in message.content, "a refusal")
    return message


async def private_reply(made: Any) -> str:
    await until(lambda: made.texts, "words")
    return str(made.texts[-1])


async def test_a_sexual_picture_is_deleted_with_a_calm_sentence(
    data_dir: Path, server: Loopback, ann: SimulatedUser
) -> None:
    async with run_app(data_dir, server):
        there = adults(ann)
        there.slash("imagine", prompt="a nude statue")

        message = await refused_message(there)

    assert message.attachments == []
    assert "deleted" in message.content


@pytest.mark.parametrize(("policy", "spoiler"), [("spoiler", True), ("allow", False)])
async def test_adults_among_themselves_see_what_their_server_wants(
    data_dir: Path, server: Loopback, ann: SimulatedUser, policy: str, spoiler: bool
) -> None:
    async with run_app(data_dir, server) as app:
        space: Any = {"platform": "discord", "space_id": str(ann.channel.guild.id)}
        await app.application.usecases.moderation.set_policy(is_admin=True, **space, policy=policy)

        shown = await imagine_and_wait(adults(ann), "a nude statue")
        harmless = await imagine_and_wait(adults(ann), "a statue")
        ann.slash("imagine", prompt="a nude statue")
        elsewhere = await refused_message(ann)

    assert [one.attachments[0].is_spoiler for one in (shown, harmless)] == [spoiler, False]
    assert elsewhere.attachments == []


async def test_private_chats_and_places_without_the_bot_are_no_adult_channels(
    data_dir: Path, server: Loopback, ann: SimulatedUser
) -> None:
    async with run_app(data_dir, server, policy="allow"):
        private = ann.in_channel(server.state.dm(ann.person))
        private.slash("imagine", prompt="a nude statue")
        there = where_bot_is_no_member(ann)
        there.channel.nsfw = True
        made = there.slash("imagine", prompt="a nude statue")

        assert (await refused_message(private)).attachments == []
        await until(lambda: made.messages and "weren't charged" in made.messages[0].content, "a refusal")
        assert made.messages[0].attachments == []


async def test_a_picture_for_adults_does_not_follow_its_person_into_a_private_chat(
    data_dir: Path, server: Loopback, ann: SimulatedUser
) -> None:
    async with run_app(data_dir, server, policy="allow") as app:
        there = ann.in_channel(server.state.channel(nsfw=True, permissions=EVERYTHING & ~SEND))
        made = there.slash("imagine", prompt="a slow nude statue", steps=10)
        await until(lambda: made.messages and "Working" in made.messages[0].content, "progress")
        server.state.advance_clock(14.5 * 60)
        app.pool.go_on.set()

        message = await ann.in_channel(server.state.dm(ann.person)).finished()

    assert message.attachments == []


async def test_a_picture_for_adults_is_not_shown_again_where_children_may_be(
    data_dir: Path, server: Loopback, ann: SimulatedUser
) -> None:
    async with run_app(data_dir, server, policy="allow") as app:
        there = adults(ann)
        await imagine_and_wait(there, "a nude statue")
        tickets, _ = await app.application.usecases.jobs.list_tickets(await app.person(ann.person.id))
        job_id = tickets[0].job.id[:6]

        refused = ann.slash("show", id=job_id)
        again = there.slash("show", id=job_id)

        assert "can't be shown here" in await private_reply(refused)
        await until(lambda: again.messages and again.messages[0].attachments, "the picture")
        assert not any(one.attachments for one in refused.messages)


async def test_blocked_words_are_refused_in_a_sentence_that_does_not_repeat_them(
    data_dir: Path, server: Loopback, ann: SimulatedUser
) -> None:
    async with run_app(data_dir, server, blocked_words=("broccoli",)):
        said = await private_reply(ann.slash("imagine", prompt="b r o c c o l i soup"))

    assert "rephrase" in said
    assert "occoli" not in said
    assert ann.channel.from_bot == []


async def test_without_a_classifier_strangers_are_refused_and_admins_are_served(
    data_dir: Path, server: Loopback, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    async with run_app(
        data_dir, server, classifier="models/none", second_classifier="", admins=(str(bob.person.id),)
    ) as app:
        refused = await private_reply(ann.slash("imagine", prompt="unseen"))
        served = await imagine_and_wait(bob, "unseen")

        assert app.discord.is_admin(str(bob.person.id))
        assert not app.discord.is_admin(str(ann.person.id))

    assert " `easel models use paint` " in refused
    assert served.attachments[0].is_spoiler
    assert "not checked" in served.content


DEMO = (replace(MODELS[0], demo=True), MODELS[1])


@contextlib.asynccontextmanager
async def run_unchecked_app(data_dir: Path, server: Loopback, **settings: Any) -> AsyncIterator[DiscordApp]:
    """Demo models, and no classifier."""
    async with run_app(
        data_dir, server, models=DEMO, classifier="models/none", second_classifier="", **settings
    ) as app:
        app.pool.installed = False
        yield app


FROM_PHOTO: tuple[tuple[str, tuple[int, int], dict[str, str]], ...] = (
    ("imagine", (48, 32), {"prompt": "a fox"}),
    ("upscale", (48, 32), {}),
    ("upscale", (100, 100), {}),  # a size that no model takes: it is only resized
    ("mirror", (48, 32), {}),
)


@pytest.mark.parametrize("policy", ["block", "allow"])
async def test_ones_own_picture_comes_back_behind_a_spoiler_where_nothing_checks_it(
    data_dir: Path, server: Loopback, ann: SimulatedUser, policy: str
) -> None:
    async with run_unchecked_app(data_dir, server, policy=policy) as app:
        free = await imagine_and_wait(ann, "a fox")
        for number, (command, size, options) in enumerate(FROM_PHOTO, 2):
            ann.slash(command, image=server.state.file("a.png", picture(3, *size)), **options)
            made = await ann.finished(number)
            assert [one.is_spoiler for one in made.attachments] == [True], command
            assert "not checked" in made.content
        job = await app.application.usecases.chat.job_of_message("discord", f"{made.channel.id}:{made.id}")
        assert job is not None
        again, elsewhere = (there.slash("show", id=job.id) for there in (ann, adults(ann)))
        original = ann.press(made, "original")
        await until(lambda: again.messages and again.messages[0].attachments, "the picture")
        await until(lambda: original.messages, "the original")
        refused = await private_reply(elsewhere)

    assert not free.attachments[0].is_spoiler
    for message in (again.messages[0], original.messages[0]):
        assert [one.is_spoiler for one in message.attachments] == [True]
    assert "can't be shown here" in refused


async def test_what_began_with_an_unchecked_picture_stays_behind_a_spoiler_and_in_its_chat(
    data_dir: Path, server: Loopback, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    async with run_unchecked_app(data_dir, server):
        ann.slash("imagine", prompt="a fox", image=a_photo(server))
        made = await ann.finished()
        bob.press(made, "vary")
        varied = await bob.finished(2)
        bob.press(made, "upscale")
        larger = await bob.finished(3)
        there = bob.in_channel(server.state.channel())
        message = server.state.post(there.channel, server.state.bot)
        refused = await private_reply(there.press_unchecked(message, made.button("vary")))

    assert [one.attachments[0].is_spoiler for one in (made, varied, larger)] == [True, True, True]
    assert "can't be checked" in refused


@pytest.mark.parametrize("size", [(48, 32), (200, 200)])  # refined and resized
async def test_an_enlarged_picture_remains_its_authors(
    data_dir: Path, server: Loopback, ann: SimulatedUser, bob: SimulatedUser, size: tuple[int, int]
) -> None:
    async with run_app(data_dir, server):
        ann.slash("upscale", image=server.state.file("a.png", picture(3, *size)), prompt="a fox")
        larger = await ann.finished()
        refused = [await private_reply(bob.press(larger, action)) for action in ("vary", "upscale")]
        ann.press(larger, "vary")
        varied = await ann.finished(2)

    assert all("other people's pictures" in one for one in refused)
    assert varied.attachments


async def test_a_resized_picture_is_judged(data_dir: Path, server: Loopback, ann: SimulatedUser) -> None:
    async with run_app(data_dir, server, policy="spoiler"):
        photo = server.state.file("a.png", picture(3, 100, 100))
        ann.slash("upscale", image=photo, prompt="nudes")
        refused = await refused_message(ann)
        there = adults(ann)
        there.slash("upscale", image=photo, prompt="nude")
        hidden = await there.finished()

    assert refused.attachments == []
    assert hidden.attachments[0].is_spoiler


async def test_the_applications_owner_is_an_admin(app: DiscordApp, server: Loopback, ann: SimulatedUser) -> None:
    [owner] = app.discord.context.owner_ids
    actor = SimulatedUser(server, Person(int(owner), "owner"), ann.channel)

    made = await imagine_and_wait(actor)

    job = await app.application.usecases.chat.job_of_message("discord", f"{made.channel.id}:{made.id}")
    assert app.discord.is_admin(owner)
    assert job is not None
    assert job.origin.is_admin
    assert not app.discord.is_admin(str(ann.person.id))


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
    data_dir: Path, server: Loopback, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    async with run_app(data_dir, server):
        photo = bob.write_message("look", a_photo(server), mention=False)

        refused = await ann.submit(ann.menu(texts.VARY_THIS, photo), "as a painting")
        said = await private_reply(refused)
        ann.menu(texts.CAPTION_THIS, photo)
        caption = await ann.finished()
        edit = ann.press_unchecked(caption, caption.button("ask").replace(":ask:", ":edit:"))
        refused_too = await private_reply(await ann.submit(edit, "a hat"))
        own = await bob.submit(bob.menu(texts.VARY_THIS, photo), "as a painting")
        varied = await bob.finished(2)

    assert "other people's pictures" in said
    assert "It is a picture" in caption.content
    assert "other people's pictures" in refused_too
    assert varied.attachments
    assert own is not None


async def test_what_began_with_ones_photo_is_not_remade_by_others(
    data_dir: Path, server: Loopback, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    async with run_app(data_dir, server) as app:
        ann.slash("imagine", prompt="as a painting", image=a_photo(server))
        made = await ann.finished()

        refused = await private_reply(bob.press(made, "reroll"))
        bob.press(made, "vary")  # of what the bot made of it
        varied = await bob.finished(2)
        space = {"platform": "discord", "space_id": str(ann.channel.guild.id)}
        await app.application.usecases.moderation.set_policy(is_admin=True, **space, edit_others=True)
        bob.press(made, "reroll")
        again = await bob.finished(3)

    assert "other people's pictures" in refused
    assert varied.attachments
    assert again.attachments


async def test_whose_a_forwarded_picture_is_nobody_knows(
    data_dir: Path, server: Loopback, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    async with run_app(data_dir, server):
        photo = Message(1, ann.channel, bob.person, attachments=[a_photo(server)])
        forward = server.state.post(ann.channel, ann.person, snapshots=[photo])

        said = await private_reply(await ann.submit(ann.menu(texts.VARY_THIS, forward), "as a painting"))

    assert "other people's pictures" in said
