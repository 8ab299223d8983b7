"""Several pictures of one job: one photo with a button for each, and each as a message of its own."""

import io
from dataclasses import replace

import pytest
import pytest_asyncio
from PIL import Image

from bot.safety import Policy
from tests.telegram.easel_fixture import text_of
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")


def rows_under(message):
    return [[button["text"] for button in row] for row in message["reply_markup"]["inline_keyboard"]]


def shown_image(app, message):
    return Image.open(io.BytesIO(app.state.files[message["photo"][-1]["file_id"]])).convert("RGB")


async def job_of(app, message):
    ref = f"{message['chat']['id']}:{message['message_id']}"
    return await app.application.usecases.chat.job_of_message("telegram", ref)


async def press(app, message, data, person):
    return await app.callback_answer(app.state.press(message, data, person))


async def change_pictures(app, job, **changes):
    """As if the second of its pictures had been judged otherwise."""
    from storage.mapping import from_result
    from storage.schema import job as table

    media = tuple(replace(one, **changes) if one.number == 2 else one for one in job.result.media)
    changed = table.update().where(table.c.id == job.id).values(result=from_result(replace(job.result, media=media)))
    await app.storage.jobs._database.run_write(lambda tx: tx.execute(changed).rowcount)


@pytest_asyncio.fixture(loop_scope="module")
async def grid(app, group, ann):
    return await app.imagine_and_wait(group, ann, "a fox --count 4 --seed 7")


async def test_a_grid_is_one_photo_with_a_button_for_each_picture(app, grid):
    job = await job_of(app, grid)
    kept = await app.storage.media.read_sheet(job.id)
    sheet = shown_image(app, grid)

    others = ["Reroll", "Original", "Delete", "Report"]
    assert rows_under(grid) == [["U1", "U2", "U3", "U4"], ["V1", "V2", "V3", "V4"], others]
    assert sheet.size == (64 * 2 + 4, 64 * 2 + 4)
    assert b"trainedAlgorithmicMedia" in kept.data
    assert Image.open(io.BytesIO(kept.data)).size == sheet.size


async def test_u_shows_one_picture_from_the_store_and_everything_under_it_means_that_picture(app, group, grid, bob):
    job, made = await job_of(app, grid), app.pool.imagined
    await press(app, grid, f"v1:show:{job.id}:2", bob)
    shown = await app.message_with(group, "Picture 2 of 4", 2)
    await press(app, shown, app.state.button(shown, "vary.subtle"), bob)
    varied = await job_of(app, await app.finished_picture(group, 3))
    app.state.send_message(group, bob, "what is it?", reply_to=shown)
    asked = await job_of(app, await app.message_with(group, "It is what is it?", 4))

    stored = await app.storage.media.read_media(job.result.media[1].id, None)
    expected = Image.open(io.BytesIO(stored.data)).convert("RGB").crop((9, 9, 10, 10)).tobytes()
    pixel = shown_image(app, shown).crop((9, 9, 10, 10)).tobytes()
    assert max(abs(a - b) for a, b in zip(pixel, expected, strict=True)) < 6
    assert "seed 8" in text_of(shown)
    assert app.pool.imagined == made + 1  # the variation
    assert rows_under(shown)[0] == ["Vary (subtle)", "Vary (strong)", "Upscale"]
    assert varied.images[0].id == asked.images[0].id == job.result.media[1].id
    assert varied.options["strength"] == 0.3


async def test_the_buttons_of_a_grid_work_after_a_restart(app, group, grid, ann):
    await app.close()
    await app.open()
    job = await job_of(app, grid)
    await press(app, grid, f"v1:vary:{job.id}:3", ann)

    varied = await job_of(app, await app.finished_picture(group, 2))
    assert varied.images[0].id == job.result.media[2].id


async def test_remix_asks_for_the_prompt_and_keeps_that_pictures_seed(app, group, grid, ann):
    job = await job_of(app, grid)
    await press(app, grid, f"v1:remix:{job.id}:2", ann)
    question = await app.message_with(group, "the new prompt", 2)
    app.state.send_message(group, ann, "a red owl", reply_to=question)
    remixed = await job_of(app, await app.finished_picture(group, 3))

    assert text_of(question).endswith("\na fox")
    asked_for = next(call for call in app.server.called("sendMessage", group["id"]) if "new prompt" in str(call))
    assert "force_reply" in str(asked_for)
    options = remixed.options
    assert (options["prompt"], options["seed"], options["count"], remixed.parent) == ("a red owl", 8, 1, job.id)


async def test_same_subject_asks_for_the_prompt_and_refers_to_the_picture(app, group, grid, ann):
    models, job = app.application.usecases.models, await job_of(app, grid)
    plain = models.require(job.model)
    models.add_model(replace(plain, controls={"subject": "org/adapter"}))
    await press(app, grid, f"v1:subject:{job.id}:2", ann)
    question = await app.message_with(group, "the new prompt", 2)
    app.state.send_message(group, ann, "a red owl", reply_to=question)
    posed = await job_of(app, await app.finished_picture(group, 3))
    models.add_model(plain)

    assert text_of(question).endswith("\na fox")
    [image] = posed.images
    assert (image.id, image.role, image.kind) == (job.result.media[1].id, "reference", "subject")
    assert (posed.options["prompt"], posed.parent) == ("a red owl", job.id)


async def test_a_picture_grows_by_a_press_under_it_and_what_came_of_it_grows_again(app, group, grid, bob):
    job = await job_of(app, grid)
    await press(app, grid, f"v1:show:{job.id}:2", bob)
    shown = await app.message_with(group, "Picture 2 of 4", 2)
    await press(app, shown, app.state.button(shown, "pan.left"), bob)
    made = await app.finished_picture(group, 3)
    grown = await job_of(app, made)

    assert (grown.command, grown.options["direction"], grown.options["prompt"]) == ("pan", "left", "a fox")
    assert [(image.id, image.role) for image in grown.images] == [(job.result.media[1].id, "init")]
    assert grown.owner == (await app.application.usecases.people.identify_account("telegram", str(bob["id"]), "")).id
    assert grown.options["seed"] != job.options["seed"]
    assert app.state.button(made, "pan.left") == f"v1:pan.left:{grown.id}"


async def test_one_picture_is_deleted_and_the_photo_shows_it_no_more(app, group, grid, ann, bob):
    job = await job_of(app, grid)
    before = shown_image(app, grid)
    await press(app, grid, f"v1:show:{job.id}:2", ann)
    shown = await app.message_with(group, "Picture 2 of 4", 2)
    refused = await press(app, shown, f"v1:delete:{job.id}:2", bob)
    await press(app, shown, f"v1:delete:{job.id}:2", ann)
    left = await app.until(
        lambda: next((one for one in app.state.bot_messages(group) if "V3" in str(one) and "V2" not in str(one)), None)
    )

    assert refused["show_alert"] is True
    await app.until(lambda: len(app.state.bot_messages(group)) == 1)
    assert left["message_id"] == grid["message_id"]
    after = shown_image(app, left)
    assert after.getpixel((4, 4)) == before.getpixel((4, 4))
    assert max(after.getpixel((64 + 4 + 32, 32))) < 40 < max(before.getpixel((64 + 4 + 32, 32)))
    pictures = (await job_of(app, left)).result.pictures
    assert [one is not None for one in pictures] == [True, False, True, True]
    assert "deleted" in (await press(app, left, f"v1:show:{job.id}:2", ann))["text"]


async def test_a_picture_that_may_not_be_shown_here_is_refused_and_is_a_blank_cell(app, group, grid, ann):
    job = await job_of(app, grid)
    await change_pictures(app, job, is_adult=True)
    moderation = app.application.usecases.moderation
    await moderation.set_policy(is_admin=True, platform="telegram", space_id=job.origin.space_id, policy=Policy.BLOCK)
    refused = await press(app, grid, f"v1:show:{job.id}:2", ann)
    app.state.send_message(group, ann, f"/show {job.id}")
    again = await app.message_with(group, job.id, 2)

    assert refused["show_alert"] is True
    assert max(shown_image(app, again).getpixel((64 + 4 + 32, 32))) < 40
    assert shown_image(app, again).getpixel((4, 4)) == shown_image(app, grid).getpixel((4, 4))


async def test_a_button_forged_under_another_jobs_photo_shows_nothing(app, group, grid, chat, ann, bob):
    private = await app.imagine_and_wait(chat, ann, "a secret --count 2")
    secret = await job_of(app, private)
    answer = await press(app, grid, f"v1:show:{secret.id}:1", bob)

    assert "no longer works" in answer["text"]
    assert len(app.state.bot_messages(group)) == 1


async def test_the_star_keeps_a_picture_among_the_favourites(app, group, grid, chat, ann, bob):
    job = await job_of(app, grid)
    refused = await press(app, grid, f"v1:favourite:{job.id}:2", bob)
    kept = await press(app, grid, f"v1:favourite:{job.id}:2", ann)
    app.state.send_message(chat, ann, "/history favourites")
    listed = await app.message_with(chat, job.id[:6])
    removed = await press(app, grid, f"v1:favourite:{job.id}:2", ann)
    app.state.send_message(chat, ann, "/history favourites")

    assert refused["show_alert"] is True
    assert (kept["text"], removed["text"]) == ("Added to your favourites.", "Removed from your favourites.")
    assert len(rows_under(listed)[0]) == 1
    assert "no favourites yet" in text_of(await app.bot_message(chat, 2))


async def test_each_original_is_about_its_own_picture_and_goes_with_it(app, group, grid, ann, bob):
    job = await job_of(app, grid)
    await press(app, grid, f"v1:original:{job.id}", bob)
    await app.until(lambda: len(app.state.bot_messages(group)) == 5)
    await app.wait_until_idle(0.1)
    third = app.state.bot_messages(group)[3]
    app.state.send_message(group, bob, "what is it?", reply_to=third)
    asked = await job_of(app, await app.message_with(group, "It is what is it?", 6))
    await press(app, grid, f"v1:delete:{job.id}:3", ann)
    await app.until(lambda: third not in app.state.bot_messages(group))

    assert third["document"]["file_name"] == f"easel-{job.id}-3.png"
    assert asked.images[0].id == job.result.media[2].id
    assert len(app.state.bot_messages(group)) == 5


async def test_nothing_is_asked_about_a_deleted_picture(app, group, grid, ann):
    job = await job_of(app, grid)
    await press(app, grid, f"v1:delete:{job.id}:2", ann)
    answer = await press(app, grid, f"v1:ask:{job.id}:2", ann)

    assert "deleted" in answer["text"]
    assert len(app.state.bot_messages(group)) == 1


async def test_after_retention_each_use_of_the_pictures_says_that_they_are_deleted(app, group, ann):
    app.state.send_photo(group, ann, picture(3, 64, 64), "/imagine a cat --count 2")
    grid = await app.finished_picture(group)
    job = await job_of(app, grid)
    await app.storage.media.sweep(unused_s=0, keep_days=0, max_gb=1e-9)
    answers = [(await press(app, grid, f"v1:{action}:{job.id}:1", ann))["text"] for action in ("show", "vary", "ask")]
    for number, words in enumerate((f"/show {job.id}", "what is it?", "make it red"), 2):
        app.state.send_message(group, ann, words, reply_to=grid)
        answers.append(text_of(await app.bot_message(group, number)))

    assert job.images
    assert ["has been deleted" in answer for answer in answers] == [True] * 6


async def test_of_pictures_that_were_compared_the_best_is_shown_and_the_others_by_their_buttons(app, group, ann):
    best = await app.imagine_and_wait(group, ann, "a fox --best 3 --seed 7")
    job = await job_of(app, best)

    assert len(job.result.media) == 3
    assert shown_image(app, best).size == (64, 64)
    assert await app.storage.media.read_sheet(job.id) is None
    assert rows_under(best)[0] == ["U1", "U2", "U3"]
