"""Controls and references in Telegram: of a caption, an album, a reply, an earlier job."""

import pytest

from bot.jobs import BY_BOT
from tests.telegram.easel_fixture import text_of
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOX, CAT = picture(3, 48, 32), picture(4, 48, 32)


async def newest_job(app, person):
    """The person's newest job, whose pictures are not made yet."""
    owner = await app.application.usecases.people.identify_account("telegram", str(person["id"]), "")
    [ticket], _ = await app.application.usecases.jobs.list_tickets(owner, limit=1)
    app.pool.go_on.set()
    return ticket.job


async def count_jobs(app, person):
    owner = await app.application.usecases.people.identify_account("telegram", str(person["id"]), "")
    return await app.application.usecases.jobs.count_jobs(owner)


def roles(job):
    return [(image.role, image.kind) for image in job.images]


async def test_a_captions_control_is_the_photo_itself(app, chat, ann):
    app.state.send_photo(chat, ann, FOX, "/imagine a castle --control canny:0.8:0:0.5:ready --seed 7")
    await app.bot_message(chat)
    job = await newest_job(app, ann)

    [control] = job.images
    assert (control.role, control.kind, control.weight, control.end, control.ready) == (
        "control",
        "canny",
        0.8,
        0.5,
        True,
    )
    assert (job.task, job.options["prompt"], job.options["seed"]) == ("text-to-image", "a castle", 7)
    assert job.options["width"] > job.options["height"]
    await app.finished_picture(chat)


async def test_the_photos_of_an_album_go_to_the_flags_in_their_order(app, chat, ann):
    app.state.album(chat, ann, [FOX, CAT, FOX], "/imagine a hat --style-of 0.6 --control canny:ready")
    await app.bot_message(chat)
    job = await newest_job(app, ann)

    assert roles(job) == [("init", ""), ("reference", "style"), ("control", "canny")]
    assert job.images[1].weight == 0.6
    assert job.images[0].id == job.images[2].id != job.images[1].id
    await app.finished_picture(chat)


async def test_a_result_replied_to_or_named_by_its_id_gives_its_style(app, chat, ann, bob, group):
    made = await app.imagine_and_wait(chat, ann, "a red fox")
    first = await newest_job(app, ann)
    app.state.send_message(chat, ann, "/imagine a castle --style-of", reply_to=made)
    await app.finished_picture(chat, 2)
    replied = await newest_job(app, ann)
    app.state.send_message(group, ann, f"/imagine a castle --subject-of {first.id[:10]}")
    await app.finished_picture(group)
    named = await newest_job(app, ann)

    assert [(roles(job), job.images[0].author) for job in (replied, named)] == [
        ([("reference", "style")], BY_BOT),
        ([("reference", "subject")], BY_BOT),
    ]
    assert replied.images[0].id == named.images[0].id == first.result.media[0].id
    assert (replied.parent, named.parent) == (first.id, None)


async def test_a_job_of_somebody_else_cannot_be_named(app, chat, ann, bob):
    await app.imagine_and_wait(chat, ann, "a red fox")
    theirs = await newest_job(app, ann)
    other = app.state.private(bob)
    app.state.send_message(other, bob, f"/imagine a castle --style-of {theirs.id}")

    assert text_of(await app.bot_message(other)) == f"You have no job called {theirs.id}."
    assert await count_jobs(app, bob) == 0


@pytest.mark.parametrize("flags", ["--control canny:ready", "--style-of", "--subject-of"])
async def test_photos_of_others_are_taken_only_where_that_is_allowed(app, group, ann, bob, flags):
    theirs = app.state.send_photo(group, bob, FOX, "look")
    app.state.send_message(group, ann, f"/imagine a castle {flags}", reply_to=theirs)

    assert text_of(await app.bot_message(group)).startswith("Editing other people's pictures is turned off here.")
    assert await count_jobs(app, ann) == 0


async def test_the_map_of_a_preview_replied_to_is_a_ready_control(app, chat, ann):
    app.state.send_photo(chat, ann, FOX, "/preview --what control --kind canny")
    await app.until(lambda: "photo" in (app.state.bot_messages(chat) or [{}])[0])
    await app.wait_until_idle(0.1)
    preview = await app.bot_message(chat)
    shown = await newest_job(app, ann)
    app.state.send_message(chat, ann, "/imagine a castle --control canny", reply_to=preview)
    await app.finished_picture(chat, 2)
    job = await newest_job(app, ann)

    [control] = job.images
    assert (control.id, control.kind, control.ready) == (shown.result.media[0].id, "canny", True)
    assert (job.command, job.options["prompt"]) == ("imagine", "a castle")


@pytest.mark.parametrize(
    ("caption", "option"),
    [("/zoom --factor 2", ("factor", 2.0)), ("/pan up", ("direction", "up"))],
)
async def test_a_photo_grows_by_its_caption(app, chat, ann, caption, option):
    app.state.send_photo(chat, ann, FOX, caption)
    await app.finished_picture(chat)
    job = await newest_job(app, ann)

    assert job.command == caption.split()[0][1:]
    assert job.options[option[0]] == option[1]
    assert roles(job) == [("init", "")]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("a castle --control castle", "kind cannot be \u201ccastle\u201d."),
        ("a castle --control canny:nan", "weight is nan, but must be 0 to 2."),
        ("a castle --control canny:1:0.9:0.1", "A control that starts at 0.9 must end after that"),
        ("a castle --control canny --control canny", "canny was given twice; give it once."),
    ],
)
async def test_a_bad_flag_is_one_sentence_and_makes_no_job(app, chat, ann, words, sentence):
    app.state.send_photo(chat, ann, FOX, f"/imagine {words}")

    assert text_of(await app.bot_message(chat)).startswith(sentence)
    assert await count_jobs(app, ann) == 0


async def test_an_album_or_a_reply_with_a_photo_is_blended(app, chat, ann):
    app.state.album(chat, ann, [FOX, CAT, FOX], "/blend a fair")
    await app.bot_message(chat)
    album = await newest_job(app, ann)
    made = await app.finished_picture(chat)
    app.state.send_photo(chat, ann, CAT, "/blend", reply_to=made)
    await app.finished_picture(chat, 2)
    reply = await newest_job(app, ann)

    assert [len(job.images) for job in (album, reply)] == [3, 2]
    assert {image.role for job in (album, reply) for image in job.images} == {"reference"}
    assert [image.author for image in reply.images] == [BY_BOT, str(ann["id"])]


async def test_a_part_is_changed_by_a_button_and_a_reply(app, chat, ann):
    made = await app.imagine_and_wait(chat, ann, "a man in a hat")
    first = await newest_job(app, ann)
    app.state.press(made, app.state.button(made, "region"), ann)
    asked = await app.bot_message(chat, 2)
    app.state.send_message(chat, ann, "the hat: a crown --seed 7", reply_to=asked)
    await app.bot_message(chat, 3)
    job = await newest_job(app, ann)

    assert "the part to change, a colon" in text_of(asked)
    assert (job.options["region"], job.options["prompt"], job.options["seed"]) == ("the hat", "a crown", 7)
    assert [(image.id, image.role) for image in job.images] == [(first.result.media[0].id, "init")]
    app.state.send_message(chat, ann, "a crown", reply_to=asked)
    assert text_of(await app.bot_message(chat, 4)).startswith("Write the part to change, a colon, and what to paint")
