"""Commands as Discord lists them, completions, and the short answers."""

import asyncio
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from bot.chat.arguments import ChatOption
from bot.chat.commands import CHAT_COMMANDS
from bot.commands import COMMANDS
from tests.discord.app_fixture import DiscordApp, open_app
from tests.discord.loopback.server import Loopback
from tests.discord.simulated_users import SimulatedUser, until
from tests.discord.test_conversation import imagine_and_wait, job_of

VERBS = {"imagine", "caption", "ask", "describe", "edit", "queue", "cancel", "history", "show", "quota", "settings"}
VERBS |= {"models", "help", "privacy", "match", "link"}


def command(server: Loopback, name: str) -> dict:
    return next(one for one in server.state.commands if one["name"] == name)


async def test_every_verb_and_menu_is_there(app: DiscordApp, server: Loopback) -> None:
    by_kind = {kind: {one["name"] for one in server.state.commands if one["type"] == kind} for kind in (1, 3)}

    assert by_kind[1] >= VERBS
    assert by_kind[3] == {"Ask about this image", "Caption this image", "Vary this image", "Report"}


async def test_commands_can_be_used_everywhere_and_installed_by_people(app: DiscordApp, server: Loopback) -> None:
    for one in server.state.commands:
        assert sorted(one["contexts"]) == [0, 1, 2], one["name"]
        assert sorted(one["integration_types"]) == [0, 1], one["name"]


async def test_options_come_from_the_core_under_the_names_of_chats(app: DiscordApp, server: Loopback) -> None:
    options = {one["name"]: one for one in command(server, "imagine")["options"]}

    names = ("prompt", "negative", "seed", "steps", "guidance", "count", "size", "aspect", "model", "image", "strength")
    control = ("region", "hires", "best", "control", "control_kind", "flags")
    assert set(options) == {*names, *control, "mask", "style", "confirm"}
    kinds = [one["value"] for one in options["control_kind"]["choices"]]
    assert kinds == ["canny", "lineart", "scribble", "depth", "pose", "tile"]
    assert options["prompt"]["required"]
    assert options["prompt"]["max_length"] == 2000
    assert (options["count"]["min_value"], options["count"]["max_value"]) == (1, 4)
    assert options["seed"]["max_value"] == 4294967295
    assert options["image"]["type"] == 11
    assert [name for name, one in options.items() if one.get("autocomplete")] == ["size", "aspect", "style", "model"]
    assert command(server, "ask")["options"][0]["name"] == "question"


async def test_discord_takes_as_many_commands_options_and_choices(app: DiscordApp, server: Loopback) -> None:
    assert len([one for one in server.state.commands if one["type"] == 1]) <= 100
    for one in server.state.commands:
        assert len(one.get("options", [])) <= 25, one["name"]
        assert all(len(option.get("choices", [])) <= 25 for option in one.get("options", [])), one["name"]


async def test_every_command_takes_the_pictures_that_it_needs(app: DiscordApp, server: Loopback) -> None:
    for name, kind in COMMANDS.items():
        options = {one["name"]: one for one in command(server, name)["options"]}
        pictures = ["image", *(f"image{number}" for number in range(2, 6))][: kind.images_allowed]
        assert [one for one in pictures if one in options] == pictures
        assert [one for one in pictures if options[one].get("required")] == pictures[: kind.images_needed]
        assert ("mask" in options) == ("mask" in kind.further_images)


def test_no_chat_command_has_the_name_of_a_job_command() -> None:
    assert not set(CHAT_COMMANDS) & set(COMMANDS)


async def test_commands_are_registered_once_and_again_only_when_they_changed(
    data_dir: Path, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    for starts in (1, 2):
        async with open_app(data_dir, server) as app:
            app.start()
            await app.wait_until_ready()
            await until(lambda: len(server.state.sent("GET", "/commands")) == starts, "a look")  # noqa: B023
            await asyncio.sleep(0.2)
            assert len(server.state.sent("PUT", "/commands")) == 1
    changed = replace(CHAT_COMMANDS["queue"], options=(ChatOption(name="who", help="Whose"),))
    monkeypatch.setitem(CHAT_COMMANDS, "queue", changed)
    async with open_app(data_dir, server) as app:
        app.start()
        await until(lambda: len(server.state.sent("PUT", "/commands")) == 2, "the new list")


async def test_a_list_of_commands_that_cannot_be_parsed_is_registered_again(data_dir: Path, server: Loopback) -> None:
    server.state.commands = [{"id": "1", "application_id": "1", "name": "odd", "type": 3}]
    async with open_app(data_dir, server) as app:
        app.start()

        await until(lambda: len(server.state.sent("PUT", "/commands")) == 1, "the list")


async def test_commands_are_not_registered_when_that_is_turned_off(data_dir: Path, server: Loopback) -> None:
    async with open_app(data_dir, server, sync_commands=False) as app:
        app.start()
        await app.wait_until_ready()

    assert not server.state.sent("PUT", "/commands")


# ---------------------------------------------------------------- completions


async def test_models_sizes_and_aspects_are_suggested(app: DiscordApp, ann: SimulatedUser) -> None:
    models = await ann.complete("imagine", "model", "")
    looking = await ann.complete("ask", "model", "")
    sizes = await ann.complete("imagine", "size", "")
    aspects = await ann.complete("imagine", "aspect", "16")

    assert [one["value"] for one in models] == ["paint"]
    assert [one["value"] for one in looking] == ["look"]
    assert sizes[0]["value"] == "64x64"
    assert len(sizes) <= 25
    assert [one["value"] for one in aspects] == ["16:9", "9:16"]


async def test_styles_are_suggested_and_applied(app: DiscordApp, ann: SimulatedUser) -> None:
    styles = await ann.complete("imagine", "style", "i")
    ann.slash("imagine", prompt="a fox", style="ink")

    assert [one["value"] for one in styles] == ["ink"]
    assert "ink drawing of a fox" in (await ann.finished()).content


async def test_several_pictures_of_one_prompt_are_confirmed_first(app: DiscordApp, ann: SimulatedUser) -> None:
    asked = await ann.private_reply(ann.slash("imagine", prompt="a {red|blue} fox"))
    ann.slash("imagine", prompt="a {red|blue} fox", confirm=True)
    made = [await ann.finished(number) for number in (1, 2)]

    assert "2 pictures" in asked
    assert "confirm" in asked
    assert sorted(one.content.partition("\n")[0] for one in made) == ["a blue fox", "a red fox"]


async def test_every_suggested_size_can_be_asked_for(app: DiscordApp, ann: SimulatedUser) -> None:
    sizes = [one["value"] for one in await ann.complete("imagine", "size", "")]

    ann.slash("imagine", prompt="a fox", size=sizes[-1])

    assert (await ann.finished()).attachments


async def test_ones_own_jobs_are_suggested_by_their_words(app: DiscordApp, ann: SimulatedUser) -> None:
    await imagine_and_wait(ann, "a red fox")
    ann.slash("imagine", prompt="a slow owl", steps=20)
    await ann.posted(2)

    shown = await ann.complete("show", "id", "fox")
    cancelled = await ann.complete("cancel", "id", "")

    assert ["fox" in one["name"] for one in shown] == [True]
    assert ["owl" in one["name"] for one in cancelled] == [True]


# ---------------------------------------------------------------- short answers


async def test_the_queue_shows_what_waits_and_cancel_takes_a_beginning(app: DiscordApp, ann: SimulatedUser) -> None:
    ann.slash("imagine", prompt="a slow fox", steps=20)
    job = await job_of(app, await ann.posted())

    queue = await ann.private_reply(ann.slash("queue"))
    cancelled = await ann.private_reply(ann.slash("cancel", id=job.id[:5]))

    assert job.id[:6] in queue
    assert cancelled
    await until(lambda: "Cancelled" in ann.channel.from_bot[0].content, "the message to say so")


async def test_cancel_without_an_id_takes_the_only_job(app: DiscordApp, ann: SimulatedUser) -> None:
    ann.slash("imagine", prompt="a slow fox", steps=20)
    await ann.posted()

    cancelled = await ann.private_reply(ann.slash("cancel"))

    assert "a slow fox" in cancelled
    await until(lambda: "Cancelled" in ann.channel.from_bot[0].content, "the message to say so")


async def test_history_shows_the_last_ten_and_searches(app: DiscordApp, ann: SimulatedUser) -> None:
    await imagine_and_wait(ann, "a red fox")
    await imagine_and_wait(ann, "a green owl")

    all_of_it = await ann.private_reply(ann.slash("history"))
    owls = await ann.private_reply(ann.slash("history", search="owl"))

    assert "fox" in all_of_it
    assert "owl" in owls
    assert "fox" not in owls


async def test_show_brings_the_picture_back_to_its_owner_alone(app: DiscordApp, ann: SimulatedUser) -> None:
    job = await job_of(app, await imagine_and_wait(ann, "a red fox"))

    shown = ann.slash("show", id=job.id[:4])
    await until(lambda: shown.messages and shown.messages[0].attachments, "the picture")

    assert shown.messages[0].ephemeral_for is ann.person
    assert shown.messages[0].attachments[0].description


async def test_show_without_an_id_brings_the_latest_with_buttons_that_work(app: DiscordApp, ann: SimulatedUser) -> None:
    await job_of(app, await imagine_and_wait(ann, "a red fox"))
    shown = ann.slash("show")
    await until(lambda: shown.messages and shown.messages[0].attachments, "the picture")
    ann.press(shown.messages[0], "reroll")

    assert "a red fox" in (await ann.finished(2)).content
    assert shown.messages[0].ephemeral_for is ann.person


async def test_the_original_says_what_it_is(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await imagine_and_wait(ann, "a red fox")
    await job_of(app, made)

    told = await ann.private_reply(ann.press(made, "original"))

    assert told == "Original of \u201ca red fox\u201d, 64x64, PNG"


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("quota", "s of compute today"),
        ("models", "paint"),
        ("help", "made by a bot"),
        ("privacy", "/privacy what:export"),
    ],
)
async def test_other_questions_are_answered_to_the_person_alone(
    app: DiscordApp, ann: SimulatedUser, name: str, part: str
) -> None:
    asked = ann.slash(name)

    assert part in await ann.private_reply(asked)
    assert asked.messages[0].ephemeral_for is ann.person


async def test_ones_own_defaults_are_set_used_and_cleared(app: DiscordApp, ann: SimulatedUser) -> None:
    told = await ann.private_reply(ann.slash("settings", option="steps", value="7"))
    job = await job_of(app, await imagine_and_wait(ann))
    refused = await ann.private_reply(ann.slash("settings", option="steps", value="many"))
    nameless = await ann.private_reply(ann.slash("settings", value="7"))
    await ann.private_reply(ann.slash("settings", option="steps"))
    later = await job_of(app, await imagine_and_wait(ann))

    assert "steps: 7" in told
    assert job.options["steps"] == 7
    assert "whole number" in refused
    assert "Choose the option" in nameless
    assert later.options["steps"] == 3


async def test_defaults_are_shown_by_the_names_of_their_options_and_cleared_by_a_word(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    told = await ann.private_reply(ann.slash("settings", option="guidance", value="7"))
    cleared = await ann.private_reply(ann.slash("settings", option="guidance", value="none"))

    assert "guidance: 7" in told
    assert "guidance_scale" not in told
    assert "/settings option:steps value:30" in cleared


async def test_deleting_ones_data_is_confirmed_by_a_button(app: DiscordApp, ann: SimulatedUser) -> None:
    await job_of(app, await imagine_and_wait(ann, "a red fox"))
    asked = ann.slash("privacy", what="forget")
    await until(lambda: asked.messages and asked.messages[0].buttons, "the question")
    kept = ann.press_unchecked(asked.messages[0], "own:keep")
    await until(lambda: kept.answers, "an answer")
    assert "a red fox" in await ann.private_reply(ann.slash("history"))

    again = ann.slash("privacy", what="forget")
    await until(lambda: again.messages and again.messages[0].buttons, "the question")
    told = await ann.private_reply(ann.press_unchecked(again.messages[0], "own:forget"))

    assert again.messages[0].buttons == ["own:forget", "own:keep"]
    assert "is deleted" in told
    assert "no jobs yet" in await ann.private_reply(ann.slash("history"))


async def test_ones_own_data_comes_as_a_file_and_goes_when_asked_twice(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await imagine_and_wait(ann, "a red fox")
    await job_of(app, made)
    exported = ann.slash("privacy", what="export")
    await until(lambda: exported.messages and exported.messages[0].attachments, "the file")
    unsure = await ann.private_reply(ann.slash("privacy", what="forget"))
    sure = await ann.private_reply(ann.slash("privacy", what="forget", confirm=True))
    history = await ann.private_reply(ann.slash("history"))

    copy = zipfile.ZipFile(BytesIO(exported.messages[0].attachments[0].data)).read("everything.json").decode()
    assert "a red fox" in copy
    assert "token" not in copy
    assert "Are you sure" in unsure
    assert "deleted" in sure
    assert "no jobs yet" in history
