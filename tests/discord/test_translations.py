"""Commands in the languages that there are catalogues for, and when Discord is told of them again."""

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
from tests.discord.app_fixture import House, opened
from tests.discord.loopback.server import Loopback
from tests.discord.simulated_users import Actor, until
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
    options = [option for one in server.world.commands for option in one.get("options", [])]
    return [*server.world.commands, *options]


async def told_times(server: Loopback, data_dir: Path) -> int:
    """How often Discord was told, after one more life."""
    looks = len(server.world.sent("GET", "/commands"))
    async with opened(data_dir, server) as life:
        life.start()
        await life.ready()
        await until(lambda: len(server.world.sent("GET", "/commands")) > looks, "a look")
        await asyncio.sleep(0.2)
    return len(server.world.sent("PUT", "/commands"))


async def test_descriptions_are_told_in_every_language_there_is(german: None, house: House, server: Loopback) -> None:
    described = [one for one in parts(server) if one["description"]]

    assert len(described) > 40
    assert all(one["description_localizations"] == {"de": f"DE {one['description']}"} for one in described)


async def test_names_stay_and_those_of_menus_do_not(german: None, house: House, server: Loopback) -> None:
    menus = [one for one in server.world.commands if one["type"] == 3]
    others = [one for one in parts(server) if one not in menus]

    assert {one["name_localizations"]["de"] for one in menus} == {f"DE {one['name']}" for one in menus}
    assert all(not one.get("name_localizations") for one in others)


async def test_choices_are_told_in_words_and_names_of_options_are_not(
    german: None, house: House, server: Loopback
) -> None:
    choices = [choice for one in parts(server) for choice in one.get("choices", [])]

    said = {one["value"]: one.get("name_localizations") for one in choices}
    assert said["forget"] == {"de": "DE forget"}
    assert not said["steps"]


async def test_without_a_catalogue_there_is_english_alone(house: House, server: Loopback) -> None:
    assert not any(one.get("description_localizations") or one.get("name_localizations") for one in parts(server))


async def test_everything_that_commands_say_is_in_the_template(house: House, server: Loopback) -> None:
    said = {one["description"] for one in parts(server)} - {""}
    said |= {one["name"] for one in server.world.commands if one["type"] == 3}

    assert said <= template()


async def test_the_menu_is_called_what_its_reader_sees(german: None, house: House, ann: Actor, bob: Actor) -> None:
    ann.channel.guild.locale = "de"
    house.server.gateway.tell("GUILD_UPDATE", ann.channel.guild.json())
    photo = bob.say("look", a_photo(house.server), mention=False)

    assert "DE Ask about this image" in (await asked_by_mention(ann, photo)).content


async def test_a_menu_in_another_language_is_understood(german: None, house: House, ann: Actor, bob: Actor) -> None:
    ann.person.locale = "de"
    photo = bob.say("look", a_photo(house.server), mention=False)

    ann.menu("Caption this image", photo)

    assert "It is a picture" in (await ann.finished()).content


# ---------------------------------------------------------------- when Discord is told again


async def test_a_new_language_alone_is_told(data_dir: Path, server: Loopback, request: pytest.FixtureRequest) -> None:
    before = await told_times(server, data_dir)
    request.getfixturevalue("german")
    after = await told_times(server, data_dir)

    assert (before, after) == (1, 2)
    assert await told_times(server, data_dir) == 2


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
async def test_whatever_is_not_as_discord_knows_it_is_told(data_dir: Path, server: Loopback, key: str) -> None:
    assert await told_times(server, data_dir) == 1
    command = next(one for one in server.world.commands if one["name"] == "imagine")
    command[key] = CHANGES[key](command)

    assert await told_times(server, data_dir) == 2
