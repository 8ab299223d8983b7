"""/grid: one message that is filled live, with a button for each picture in the rows of the sheet."""

import io

import pytest
import pytest_asyncio
from PIL import Image

import bot.queue.message_progress as message_progress
from tests.telegram.easel_fixture import has_button, text_of
from tests.telegram.test_grids import job_of, press, rows_under, shown_image

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(autouse=True)
def quick_filling(monkeypatch):
    monkeypatch.setattr(message_progress, "GRID_INTERVAL_S", 0.05)


def is_done(message):
    return has_button(message, "delete.grid")


def is_open(message):
    return has_button(message, "cancel.grid")


async def ask(app, chat, person, words):
    app.state.send_message(chat, person, f"/grid {words} --confirm")
    return await app.until(lambda: next(filter(is_done, app.state.bot_messages(chat)), None))


async def person_of(app, person):
    return await app.application.usecases.people.identify_account("telegram", str(person["id"]), "")


async def cells_of(app, message):
    return (await app.application.usecases.grid_chat.find(await job_of(app, message))).cells


@pytest_asyncio.fixture(loop_scope="module")
async def grid(app, group, ann):
    return await ask(app, group, ann, "a fox --x steps=2,3 --y guidance=1,5 --seed 7")


async def test_a_grid_names_its_price_first_and_is_then_one_photo(app, chat, ann):
    app.state.send_message(chat, ann, "/grid a red circle --x steps=4,8 --y guidance=1,5")
    refused = await app.message_with(chat, "This makes 4 pictures")
    made = await ask(app, chat, ann, "a red circle --x steps=4,8 --y guidance=1,5")

    assert "--confirm" in text_of(refused)
    assert len(app.state.bot_messages(chat)) == 2
    assert rows_under(made) == [["a1", "b1"], ["a2", "b2"], ["Original", "Delete"]]
    assert shown_image(app, made).width > 2 * 64
    assert text_of(made).startswith("a red circle\nsteps: 4, 8\nguidance: 1, 5\n")


async def test_the_message_shows_the_sheet_so_far_and_all_of_it_can_be_cancelled(app, group, ann, bob):
    app.state.send_message(group, ann, "/grid a quick fox --x prompt=quick,slow --confirm")
    filling = await app.until(
        lambda: next(
            (one for one in app.state.bot_messages(group) if "photo" in one and "1 of 2" in text_of(one)), None
        )
    )
    so_far = shown_image(app, filling)
    refused = await press(app, filling, app.state.button(filling, "cancel.grid"), bob)
    answer = await press(app, filling, app.state.button(filling, "cancel.grid"), ann)
    done = await app.until(lambda: next(filter(is_done, app.state.bot_messages(group)), None))

    assert so_far.width > 64
    assert "Only the person" in refused["text"]
    assert answer["text"]
    assert done["message_id"] == filling["message_id"]
    assert "1 of 2 pictures were made." in text_of(done)
    assert rows_under(done)[0] == ["a1"]


async def test_one_picture_is_shown_by_a_button_or_a_reply_and_works_like_any_other(app, group, grid, bob):
    cells = await cells_of(app, grid)
    await press(app, grid, f"v1:show.cell:{cells[3].job.id}", bob)
    shown = await app.message_with(group, "b2: steps 3, guidance 5", 2)
    app.state.send_message(group, bob, "B1", reply_to=grid)
    replied = await app.message_with(group, "b1: steps 3, guidance 1", 3)
    await press(app, replied, app.state.button(replied, "vary.subtle"), bob)
    varied = await job_of(app, await app.finished_picture(group, 4))
    app.state.send_message(group, bob, "b2 what is it?", reply_to=grid)
    asked = await job_of(app, await app.message_with(group, "It is what is it?", 5))

    assert rows_under(shown)[0] == ["Vary (subtle)", "Vary (strong)", "Upscale"]
    assert varied.images[0].id == cells[1].job.result.media[0].id
    assert asked.images[0].id == cells[3].job.result.media[0].id


async def test_a_reply_without_a_place_is_asked_for_one(app, group, grid, bob):
    app.state.send_message(group, bob, "what is it?", reply_to=grid)
    question = await app.message_with(group, "Which picture of the grid?", 2)
    app.state.send_message(group, bob, "/caption", reply_to=grid)
    command = await app.message_with(group, "This message shows a grid.", 3)

    assert "as in: b2 what is it?" in text_of(question)
    assert "\u201cb2\u201d" in text_of(command)


async def test_the_sheets_of_a_third_axis_are_one_photo_and_files_by_original(app, group, ann, bob):
    made = await ask(app, group, ann, "a fox --x steps=2,3 --z seed=1,2")
    one = shown_image(app, made)
    await press(app, made, app.state.button(made, "original.grid"), bob)
    sent = await app.until(lambda: [m for m in app.state.bot_messages(group) if "document" in m][1:] and 1)
    documents = [m for m in app.state.bot_messages(group) if "document" in m]
    sizes = {Image.open(io.BytesIO(app.state.files[m["document"]["file_id"]])).size for m in documents}

    assert sent
    assert rows_under(made)[:2] == [["1a1", "1b1"], ["2a1", "2b1"]]
    assert len(documents) == 2
    assert all(width < one.width or height < one.height for width, height in sizes)


async def test_delete_takes_all_of_it(app, group, ann, bob):
    made = await ask(app, group, ann, "a fox --x steps=2,3")
    [first, _] = await cells_of(app, made)
    app.state.send_message(group, ann, "b1", reply_to=made)
    await app.message_with(group, "b1: steps 3", 2)
    refused = await press(app, made, app.state.button(made, "delete.grid"), bob)
    await press(app, made, app.state.button(made, "delete.grid"), ann)
    await app.until(lambda: not app.state.bot_messages(group))

    assert refused["show_alert"] is True
    assert await app.application.usecases.grid_chat.find(first.job) is None


async def test_values_whose_pictures_are_all_deleted_leave_the_words_of_the_message(app, chat, ann):
    made = await ask(app, chat, ann, "a red fox --x prompt=red,green --y steps=2,3")
    cells = await cells_of(app, made)
    for cell in (cells[1], cells[3]):
        await app.application.usecases.pictures.erase_job(await person_of(app, ann), cell.job.id)
    app.state.send_message(chat, ann, "/history")
    history = text_of(await app.message_with(chat, "Your latest jobs", 2))

    assert "(prompt: red; steps: 2, 3)" in history
    assert "green" not in history


async def test_show_and_cancel_mean_the_whole_grid(app, chat, ann):
    made = await ask(app, chat, ann, "a fox --x steps=2,3")
    app.state.send_message(chat, ann, "/show", reply_to=made)
    shown = await app.until(lambda: app.state.bot_messages(chat)[1:])
    app.state.send_message(chat, ann, "/grid a quick fox --x prompt=quick,slow --y steps=3,4 --confirm")
    filling = await app.message_with(chat, "2 of 4", 3)
    app.state.send_message(chat, ann, "/cancel")
    await app.until(lambda: is_done(app.state.bot_messages(chat)[2]))

    assert "photo" in shown[0]
    assert rows_under(shown[0]) == [["a1", "b1"], ["Original", "Delete"]]
    assert "2 of 4 pictures were made." in text_of(app.state.bot_messages(chat)[2])
    assert filling["message_id"] == app.state.bot_messages(chat)[2]["message_id"]


async def test_a_grid_is_one_line_of_the_queue_and_of_the_history_which_shows_it_again(app, chat, ann):
    made = await ask(app, chat, ann, "a fox --x steps=2,3 --y guidance=1,5")
    grid_id = (await job_of(app, made)).batch
    app.state.send_message(chat, ann, "/grid a slow owl --x steps=3,4 --confirm")
    filling = await app.until(lambda: next((m for m in app.state.bot_messages(chat) if is_open(m)), None))
    app.state.send_message(chat, ann, "/queue")
    queue = text_of(await app.message_with(chat, "To cancel one", 3))
    await press(app, filling, app.state.button(filling, "cancel.grid"), ann)
    app.state.send_message(chat, ann, "/history")
    history = await app.message_with(chat, "Your latest jobs", 4)
    [[_, second]] = history["reply_markup"]["inline_keyboard"]
    await press(app, history, second["callback_data"], ann)
    shown = await app.until(lambda: app.state.bot_messages(chat)[4:])

    assert queue.count("a slow owl") == 1
    assert "grid a slow owl (steps: 3, 4; " in queue
    assert f"2. {grid_id}  grid a fox (steps: 2, 3; guidance: 1, 5)" in text_of(history)
    assert second["text"] == "2"
    assert rows_under(shown[0])[0] == ["a1", "b1"]


async def test_more_pictures_than_buttons_fit_are_shown_by_replies(app, chat, ann, monkeypatch):
    monkeypatch.setattr("adapters.telegram.delivery.MAX_CELLS", 3)
    made = await ask(app, chat, ann, "a fox --x steps=2,3 --y guidance=1,5")

    assert rows_under(made) == [["Original", "Delete"]]
    assert "reply with its place, such as b2" in text_of(made)
