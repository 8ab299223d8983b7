"""Commands in every language with a catalogue, and when they are registered again."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po

from bot import i18n
from scripts.locales import TEMPLATE
from tests.discord.app_fixture import DiscordApp, open_app
from tests.discord.loopback.server import Loopback
from tests.discord.simulated_users import SimulatedUser, until
from tests.discord.test_conversation import a_photo, asked_by_mention


def template() -> set[str]:
    with TEMPLATE.open("rb") as file:
        return {str(message.id) for message in read_po(file) if message.id}


@pytest.fixture
def german(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A catalogue in which every sentence begins with DE."""
    catalog = Catalog(locale="de")
    for sentence in template():
        catalog.add(sentence, f"DE {sentence}")
    folder = tmp_path / "locales" / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    with (folder / "easel.mo").open("wb") as file:
        write_mo(file, catalog)
    monkeypatch.setattr(i18n, "LOCALES", tmp_path / "locales")
    i18n._translator.cache_clear()
    yield
    i18n._translator.cache_clear()


def parts(server: Loopback) -> list[dict[str, Any]]:
    """Every command and every option."""
    options = [option for one in server.state.commands for option in one.get("options", [])]
    return [*server.state.commands, *options]


async def registrations_after_restart(server: Loopback, data_dir: Path) -> int:
    """The number of registrations after one more start."""
    looks = len(server.state.sent("GET", "/commands"))
    async with open_app(data_dir, server) as app:
        app.start()
        await app.wait_until_ready()
        await until(lambda: len(server.state.sent("GET", "/commands")) > looks, "a look")
        await asyncio.sleep(0.2)
    return len(server.state.sent("PUT", "/commands"))


async def test_descriptions_are_registered_in_every_language_with_a_catalogue(
    german: None, app: DiscordApp, server: Loopback
) -> None:
    described = [one for one in parts(server) if one["description"]]

    assert len(described) > 40
    assert all(one["description_localizations"] == {"de": f"DE {one['description']}"} for one in described)


async def test_names_stay_and_those_of_menus_do_not(german: None, app: DiscordApp, server: Loopback) -> None:
    menus = [one for one in server.state.commands if one["type"] == 3]
    others = [one for one in parts(server) if one not in menus]

    assert {one["name_localizations"]["de"] for one in menus} == {f"DE {one['name']}" for one in menus}
    assert all(not one.get("name_localizations") for one in others)


async def test_choices_that_are_words_are_translated_and_option_names_are_not(
    german: None, app: DiscordApp, server: Loopback
) -> None:
    choices = [choice for one in parts(server) for choice in one.get("choices", [])]

    said = {one["value"]: one.get("name_localizations") for one in choices}
    assert said["forget"] == {"de": "DE forget"}
    assert not said["steps"]


async def test_without_a_catalogue_there_is_english_alone(app: DiscordApp, server: Loopback) -> None:
    assert not any(one.get("description_localizations") or one.get("name_localizations") for one in parts(server))


async def test_everything_that_commands_say_is_in_the_template(app: DiscordApp, server: Loopback) -> None:
    said = {one["description"] for one in parts(server)} - {""}
    said |= {one["name"] for one in server.state.commands if one["type"] == 3}

    assert said <= template()


async def test_the_menu_is_called_what_its_reader_sees(
    german: None, app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    ann.channel.guild.locale = "de"
    app.server.gateway.dispatch("GUILD_UPDATE", ann.channel.guild.json())
    photo = bob.write_message("look", a_photo(app.server), mention=False)

    assert "DE Ask about this image" in (await asked_by_mention(ann, photo)).content


async def test_a_menu_in_another_language_is_understood(
    german: None, app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    ann.person.locale = "de"
    photo = bob.write_message("look", a_photo(app.server), mention=False)

    ann.menu("Caption this image", photo)

    assert "It is a picture" in (await ann.finished()).content


# ---------------------------------------------------------------- when Discord is told again


async def test_a_new_language_alone_is_registered(
    data_dir: Path, server: Loopback, request: pytest.FixtureRequest
) -> None:
    before = await registrations_after_restart(server, data_dir)
    request.getfixturevalue("german")
    after = await registrations_after_restart(server, data_dir)

    assert (before, after) == (1, 2)
    assert await registrations_after_restart(server, data_dir) == 2


def first_option(command: dict[str, Any]) -> dict[str, Any]:
    return dict(command["options"][0])


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "contexts": lambda one: [0],
    "integration_types": lambda one: [0],
    "description": lambda one: "something else",
    "description_localizations": lambda one: {"de": "etwas"},
    "nsfw": lambda one: True,
    "default_member_permissions": lambda one: "8",
    "options": lambda one: [first_option(one) | {"description_localizations": {"de": "etwas"}}, *one["options"][1:]],
}


@pytest.mark.parametrize("key", CHANGES)
async def test_any_difference_to_the_registered_commands_is_registered(
    data_dir: Path, server: Loopback, key: str
) -> None:
    assert await registrations_after_restart(server, data_dir) == 1
    command = next(one for one in server.state.commands if one["name"] == "imagine")
    command[key] = CHANGES[key](command)

    assert await registrations_after_restart(server, data_dir) == 2
