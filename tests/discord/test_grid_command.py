"""/grid: one message that is filled live, with a menu of its pictures."""

import io
from pathlib import Path

import pytest
from PIL import Image

import bot.queue.message_progress as message_progress
from bot.errors import NotFound
from bot.jobs import JobState
from tests.discord.app_fixture import DiscordApp, open_app
from tests.discord.loopback.discord_server_state import Message
from tests.discord.simulated_users import SimulatedUser, until
from tests.discord.test_conversation import job_of


@pytest.fixture(autouse=True)
def quick_filling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_progress, "GRID_INTERVAL_S", 0.05)


def ask(person: SimulatedUser, prompt: str = "a red fox", x: str = "steps=2,3", **options: object) -> None:
    person.slash("grid", prompt=prompt, x=x, confirm=True, **options)


async def make(person: SimulatedUser, **options: object) -> Message:
    seen = len(person.channel.from_bot)
    ask(person, **options)  # type: ignore[arg-type]
    return await person.finished(seen + 1)


def menu_labels(message: Message) -> list[str]:
    return [one["label"] for row in message.components for menu in row["components"] for one in menu.get("options", ())]


def rows_under(message: Message) -> list[list[str]]:
    return [[one["label"] for one in row["components"]] for row in message.components]


async def test_a_grid_names_its_price_first_and_is_then_one_message_with_one_sheet(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    refused = ann.slash("grid", prompt="a red fox", x="steps=2,3", y="guidance=1,5")
    sentence = await ann.private_reply(refused)
    made = await make(ann, y="guidance=1,5", seed=7)
    cell = await job_of(app, made)
    batch = await app.application.usecases.grids.get_batch(cell.owner, str(cell.batch))

    assert "4 pictures" in sentence
    assert "confirm" in sentence
    assert len(ann.channel.from_bot) == 1
    [sheet] = made.attachments
    image = Image.open(io.BytesIO(sheet.data))
    assert (image.width > 128, image.height > 128) == (True, True)
    assert "steps: 2, 3" in str(sheet.description)
    assert "steps: 2, 3\nguidance: 1, 5" in made.content
    assert rows_under(made) == [["a1", "b1"], ["a2", "b2"], ["Original", "Delete"]]
    assert [one.job.state for one in batch.tickets] == [JobState.DELIVERED] * 4


async def test_the_message_shows_the_sheet_so_far_and_how_many_are_done(app: DiscordApp, ann: SimulatedUser) -> None:
    ask(ann, prompt="a quick fox", x="prompt=quick,slow")
    filling = await ann.posted()
    await until(lambda: "1 of 2 pictures of the grid" in filling.content and filling.attachments, "the sheet so far")
    shown, buttons = filling.attachments[0], rows_under(filling)
    app.pool.go_on.set()
    done = await ann.finished()

    assert (shown.filename, Image.open(io.BytesIO(shown.data)).format) == ("preview.jpg", "JPEG")
    assert buttons == [["Cancel all"]]
    assert done.id == filling.id
    assert [one.filename.rpartition(".")[2] for one in done.attachments] == ["png"]


async def test_one_picture_is_a_message_for_everybody_with_its_own_buttons(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    made = await make(ann, seed=7)
    cells = (await app.application.usecases.grid_chat.find(await job_of(app, made))).cells
    bob.press_unchecked(made, f"v1:show.cell:{cells[1].job.id}")
    shown = await ann.finished(2)
    bob.press(shown, "vary.strong")
    varied = await job_of(app, await ann.finished(3))

    assert shown.ephemeral_for is None
    assert shown.content.startswith("b1: steps 3\n")
    assert cells[1].job.result is not None
    assert varied.images[0].id == cells[1].job.result.media[0].id
    assert varied.owner == (await app.person(bob.person.id)).id


async def test_a_reply_names_a_picture_and_may_ask_about_it(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await make(ann, seed=7)
    cells = (await app.application.usecases.grid_chat.find(await job_of(app, made))).cells
    ann.write_message("B1", reply_to=made)
    shown = await ann.finished(2)
    ann.write_message("b1: what is it?", reply_to=made)
    asked = await job_of(app, await ann.finished(3))
    ann.write_message("what is it?", reply_to=made)
    which = await ann.posted(4)
    ann.write_message("c9", reply_to=made)
    none = await ann.posted(5)

    assert shown.content.startswith("b1: steps 3\n")
    assert cells[1].job.result is not None
    assert (asked.command, asked.options["question"]) == ("ask", "what is it?")
    assert asked.images[0].id == cells[1].job.result.media[0].id
    assert "as in: b1 what is it?" in which.content
    assert none.content == "The grid has no picture c9."


async def test_a_menu_on_the_message_asks_for_one_picture(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await make(ann)
    opened = ann.menu("Ask about this image", made)
    captioned = ann.menu("Caption this image", made)

    assert "place of one picture, such as \u201cb1\u201d" in await ann.private_reply(opened)
    assert "place of one picture, such as \u201cb1\u201d" in await ann.private_reply(captioned)


async def test_only_its_owner_cancels_all_of_it(app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser) -> None:
    ask(ann, prompt="a quick fox", x="prompt=quick,slow", y="steps=3,4")
    filling = await ann.posted()
    await until(lambda: "2 of 4" in filling.content, "half of it")
    refused = bob.press(filling, "cancel.grid")
    sentence = await bob.private_reply(refused)
    ann.press(filling, "cancel.grid")
    done = await ann.finished()

    assert sentence == "Only the person who asked for it can do that."
    assert "2 of 4 pictures were made." in done.content
    assert rows_under(done)[:-1] == [["a1"], ["a2"]]


async def test_a_picture_that_fails_is_blank_and_the_message_says_why(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await make(ann, prompt="a quick fox", x="prompt=quick,fail")

    assert "1 of 2 pictures were made.\nSomething went wrong; you weren't charged." in made.content
    assert rows_under(made)[0] == ["a1"]


async def test_a_grid_of_which_nothing_was_made_says_why(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await make(ann, prompt="fail fox", x="steps=2,3")

    assert made.content.startswith("Something went wrong; you weren't charged.")
    assert (made.attachments, rows_under(made)) == ([], [["Delete"]])


async def test_delete_takes_all_of_it_and_the_pictures_that_were_shown_alone(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    made = await make(ann)
    first = await job_of(app, made)
    ann.write_message("b1", reply_to=made)
    await ann.finished(2)
    refused = bob.press(made, "delete.grid")
    sentence = await bob.private_reply(refused)
    ann.press(made, "delete.grid")
    await until(lambda: not ann.channel.from_bot, "both messages to go")

    assert "Only the person" in sentence
    with pytest.raises(NotFound):
        await app.application.usecases.grids.get_batch(first.owner, str(first.batch))


async def test_a_cell_that_is_deleted_elsewhere_leaves_the_message(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await make(ann)
    first, before = await job_of(app, made), made.attachments[0].data
    person = await app.person(ann.person.id)
    await app.application.usecases.pictures.erase_job(person, first.id)
    await until(lambda: rows_under(made)[0] == ["b1"], "the button to go")

    assert [one.id for one in ann.channel.from_bot] == [made.id]
    assert made.attachments[0].data != before
    assert (await job_of(app, made)).id != first.id


async def test_the_sheets_of_a_third_axis_are_attachments_of_one_message(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await make(ann, y="guidance=1,5", z="sampler=euler")
    several = await make(ann, z="seed=1,2,3")

    assert (len(made.attachments), len(several.attachments)) == (1, 3)
    assert rows_under(several) == [["1a1", "1b1"], ["2a1", "2b1"], ["3a1", "3b1"], ["Original", "Delete"]]
    assert len({str(one.description) for one in several.attachments}) == 3


async def test_many_pictures_are_in_several_menus(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await make(ann, x="seed=1-6", y="steps=1-5")
    kinds = [[one["type"] for one in row["components"]] for row in made.components]
    ann.choose(made, "f5")
    shown = await ann.finished(2)

    assert kinds == [[3], [3], [2, 2]]
    assert menu_labels(made)[:2] == ["a1: seed 1, steps 1", "b1: seed 2, steps 1"]
    assert shown.content.startswith("f5: seed 6, steps 5\n")


async def test_an_interrupted_grid_is_finished_in_the_same_message(
    app: DiscordApp, ann: SimulatedUser, data_dir: Path
) -> None:
    ask(ann, prompt="a quick fox", x="prompt=quick,slow")
    filling = await ann.posted()
    await until(lambda: "1 of 2" in filling.content, "half of it")
    await app.kill()
    async with open_app(data_dir, app.server) as again:
        again.pool.go_on.set()
        again.start()
        done = await ann.finished()

    assert done.id == filling.id
    assert rows_under(done)[0] == ["a1", "b1"]
    assert len(ann.channel.from_bot) == 1


async def test_hidden_pictures_hide_the_sheet(app: DiscordApp, ann: SimulatedUser) -> None:
    moderation = app.application.usecases.moderation
    ann.channel.nsfw = True
    await moderation.set_policy(
        is_admin=True,
        platform="discord",
        space_id=str(ann.channel.guild.id),
        policy="spoiler",
    )
    ask(ann, prompt="a quick fox", x="prompt=quick,nude,slow")
    filling = await ann.posted()
    await until(lambda: "2 of 3" in filling.content and filling.attachments, "the sheet so far")
    so_far = filling.attachments[0].filename
    app.pool.go_on.set()
    done = await ann.finished()

    assert so_far == "SPOILER_preview.jpg"
    assert [one.filename.startswith("SPOILER_") for one in done.attachments] == [True]
