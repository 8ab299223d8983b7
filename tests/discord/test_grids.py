"""Several pictures of one job: attachments of one message with a button for each, and each as a message of its own."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from adapters.discord.rendering import match_pictures
from bot.jobs import Job, Media, Result, StoredImage
from bot.models import ZERO_SHOT_IMAGE_CLASSIFICATION, ModelSpec
from bot.safety import Policy
from storage.mapping import from_result
from storage.schema import job as job_table
from tests.discord.app_fixture import DiscordApp, open_app
from tests.discord.loopback.discord_server_state import EVERYTHING, SEND, Message
from tests.discord.loopback.server import Loopback
from tests.discord.simulated_users import SimulatedUser, until
from tests.discord.test_conversation import imagine_and_wait, job_of
from tests.fakes import make_job


def rows_under(message: Message) -> list[list[str]]:
    return [[one["label"] for one in row["components"]] for row in message.components]


async def change_pictures(app: DiscordApp, job: Job, **changes: object) -> None:
    """As if the second of its pictures had been judged otherwise."""
    assert job.result is not None
    media = tuple(replace(one, **changes) if one.number == 2 else one for one in job.result.media)  # type: ignore[arg-type]
    stored = from_result(replace(job.result, media=media))
    changed = job_table.update().where(job_table.c.id == job.id).values(result=stored)
    await app.application.storage.jobs._database.run_write(lambda tx: tx.execute(changed).rowcount)


async def test_each_attachment_has_its_number_and_its_own_description(app: DiscordApp, ann: SimulatedUser) -> None:
    grid = await imagine_and_wait(ann, count=4, seed=7)
    job = await job_of(app, grid)

    others = ["Reroll", "Original", "Delete", "Report"]
    assert rows_under(grid) == [["U1", "U2", "U3", "U4"], ["V1", "V2", "V3", "V4"], others]
    assert [one.filename for one in grid.attachments] == [f"easel-{job.id[:6]}-{n}.png" for n in (1, 2, 3, 4)]
    assert all(one.description for one in grid.attachments)
    assert f"v1:show:{job.id}:2" in grid.buttons
    assert f"v1:vary:{job.id}:2" in grid.buttons


async def test_u_shows_one_picture_to_everybody_and_a_reply_to_it_means_that_picture(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    grid = await imagine_and_wait(ann, count=4, seed=7)
    job = await job_of(app, grid)
    bob.press_unchecked(grid, f"v1:show:{job.id}:2")
    shown = await ann.finished(2)
    bob.press_unchecked(shown, f"v1:vary.strong:{job.id}:2")
    varied = await job_of(app, await ann.finished(3))
    bob.write_message("what is it?", reply_to=shown)
    asked = await job_of(app, await ann.finished(4))

    assert shown.ephemeral_for is None
    assert [one.data for one in shown.attachments] == [grid.attachments[1].data]
    assert "Picture 2 of 4, 64x64, seed 8" in shown.content
    assert shown.reply_to == grid.id
    assert job.result is not None
    assert varied.images[0].id == asked.images[0].id == job.result.media[1].id
    assert varied.options["strength"] == 0.75


async def test_remix_opens_a_form_with_the_prompt(app: DiscordApp, ann: SimulatedUser) -> None:
    grid = await imagine_and_wait(ann, count=2, seed=7)
    job = await job_of(app, grid)
    opened = ann.press_unchecked(grid, f"v1:remix:{job.id}:2")
    modal = await until(lambda: opened.modal, "a form")
    await ann.submit(opened, "a red owl")
    remixed = await job_of(app, await ann.finished(2))

    assert "a red fox" in str(modal)
    assert (remixed.options["prompt"], remixed.options["seed"], remixed.options["count"]) == ("a red owl", 8, 1)


async def test_same_style_opens_a_form_with_the_prompt_and_refers_to_the_picture(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    models = app.application.usecases.models
    models.add_model(replace(models.require("paint"), controls={"style": "org/adapter"}))
    grid = await imagine_and_wait(ann, count=2, seed=7)
    job = await job_of(app, grid)
    ann.press_unchecked(grid, f"v1:show:{job.id}:2")
    shown = await ann.finished(2)
    opened = ann.press_unchecked(shown, f"v1:style:{job.id}:2")
    modal = await until(lambda: opened.modal, "a form")
    await ann.submit(opened, "a red owl")
    styled = await job_of(app, await ann.finished(3))

    assert "a red fox" in str(modal)
    assert [one for one in shown.buttons if "style" in one or "subject" in one] == [f"v1:style:{job.id}:2"]
    assert job.result is not None
    [image] = styled.images
    assert (image.id, image.role, image.kind) == (job.result.media[1].id, "reference", "style")
    assert (styled.command, styled.options["prompt"], styled.parent) == ("imagine", "a red owl", job.id)


async def test_a_picture_grows_by_a_press_under_it(app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser) -> None:
    grid = await imagine_and_wait(ann, count=2, seed=7)
    job = await job_of(app, grid)
    ann.press_unchecked(grid, f"v1:show:{job.id}:2")
    shown = await ann.finished(2)
    bob.press(shown, "zoom.15")
    zoomed = await job_of(app, await ann.finished(3))
    answer = bob.press_unchecked(grid, f"v1:zoom.30:{job.id}:2")
    await until(lambda: answer.messages, "an answer")

    assert rows_under(shown)[-3:-1] == [
        ["Zoom out 1.5x", "Zoom out 2x"],
        ["\u2b05\ufe0f", "\u27a1\ufe0f", "\u2b06\ufe0f", "\u2b07\ufe0f"],
    ]
    assert job.result is not None
    assert [(image.id, image.role) for image in zoomed.images] == [(job.result.media[1].id, "init")]
    assert (zoomed.command, zoomed.options["factor"], zoomed.options["prompt"]) == ("zoom", 1.5, "a red fox")
    assert zoomed.options["seed"] not in (7, 8)
    assert zoomed.owner == (await app.person(bob.person.id)).id
    assert "no longer works" in answer.messages[0].content


async def test_one_picture_is_deleted_and_its_attachment_too(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    grid = await imagine_and_wait(ann, count=3, seed=7)
    job, [first, _, third] = await job_of(app, grid), [one.data for one in grid.attachments]
    ann.press_unchecked(grid, f"v1:show:{job.id}:2")
    shown = await ann.finished(2)
    refused = bob.press_unchecked(shown, f"v1:delete:{job.id}:2")
    await until(lambda: refused.messages, "a refusal")
    ann.press_unchecked(shown, f"v1:delete:{job.id}:2")
    await until(lambda: len(grid.attachments) == 2, "the picture to go")

    await until(lambda: [one.id for one in ann.channel.from_bot] == [grid.id], "its message to go")
    assert [one.data for one in grid.attachments] == [first, third]
    assert rows_under(grid)[0] == ["U1", "U3"]


@pytest.mark.parametrize("policy", [Policy.SPOILER, Policy.BLOCK])
async def test_a_picture_is_judged_again_where_it_is_shown(app: DiscordApp, ann: SimulatedUser, policy: Policy) -> None:
    grid = await imagine_and_wait(ann, count=3)
    job = await job_of(app, grid)
    await change_pictures(app, job, is_adult=True)
    ann.channel.nsfw = True
    moderation = app.application.usecases.moderation
    await moderation.set_policy(is_admin=True, platform="discord", space_id=job.origin.space_id, policy=policy)
    shown = ann.slash("show", id=job.id)
    await until(lambda: shown.messages and shown.messages[0].content, "the job")
    ann.press_unchecked(grid, f"v1:show:{job.id}:2")
    if policy is Policy.SPOILER:
        alone = await ann.finished(2)

        assert [one.filename.startswith("SPOILER_") for one in alone.attachments] == [True]
        assert [one.filename.startswith("SPOILER_") for one in shown.messages[0].attachments] == [False, True, False]
    else:
        assert len(shown.messages[0].attachments) == 2
        assert len(ann.channel.from_bot) == 1


async def test_the_star_and_the_pages_of_the_history(app: DiscordApp, ann: SimulatedUser) -> None:
    grid = await imagine_and_wait(ann, count=2)
    job = await job_of(app, grid)
    starred = ann.press_unchecked(grid, f"v1:favourite:{job.id}:2")
    await until(lambda: starred.messages, "a sentence")
    listed = ann.slash("history", search="favourites")
    await until(lambda: listed.messages and listed.messages[0].content, "the favourites")

    assert "Added to your favourites" in starred.messages[0].content
    assert job.id[:6] in listed.messages[0].content


async def test_where_the_bot_may_not_post_the_picture_is_for_the_person_alone_and_delete_means_only_it(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    grid = await imagine_and_wait(ann, count=2, seed=7)
    job = await job_of(app, grid)
    ann.channel.permissions = EVERYTHING & ~SEND
    pressed = ann.press_unchecked(grid, f"v1:show:{job.id}:2")
    await until(lambda: pressed.messages and pressed.messages[0].attachments, "the picture")
    alone, second = pressed.messages[0], grid.attachments[1].data
    ann.channel.permissions = EVERYTHING
    ann.press_unchecked(alone, f"v1:delete:{job.id}:2")
    await until(lambda: len(grid.attachments) == 1, "the picture to go")

    assert alone.ephemeral_for is ann.person
    assert alone.attachments == [] or alone.attachments[0].data == second
    assert (await app.application.storage.jobs.get_job(job.id, None)).result is not None


async def test_buttons_work_after_a_restart_on_a_result_of_an_earlier_version(
    data_dir: Path, server: Loopback, ann: SimulatedUser
) -> None:
    async with open_app(data_dir, server) as first:
        first.start()
        await first.wait_until_ready()
        grid = await imagine_and_wait(ann, count=3, seed=7)
        job = await job_of(first, grid)
        assert job.result is not None
        stored = from_result(job.result)
        del stored["places"]
        for image in stored["media"]:
            del image["number"]
        old = job_table.update().where(job_table.c.id == job.id).values(result=stored)
        await first.application.storage.jobs._database.run_write(lambda tx: tx.execute(old).rowcount)
    async with open_app(data_dir, server) as second:
        second.start()
        await second.wait_until_ready()
        ann.press_unchecked(grid, f"v1:show:{job.id}:3")
        shown = await ann.finished(2)

    assert shown.attachments[0].data == grid.attachments[2].data
    assert "Picture 3 of 3" in shown.content


async def test_each_original_has_its_number_its_description_and_its_own_spoiler(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    grid = await imagine_and_wait(ann, count=3, seed=7)
    job = await job_of(app, grid)
    await change_pictures(app, job, is_spoiler=True)
    person = await app.person(ann.person.id)
    await app.application.usecases.pictures.delete_picture(person, job.id, 1)
    await until(lambda: len(grid.attachments) == 2, "the picture to go")
    pressed = bob.press(grid, "original")
    await until(lambda: pressed.messages and pressed.messages[0].attachments, "the files")
    files = pressed.messages[0].attachments

    assert [one.filename for one in files] == [f"SPOILER_easel-{job.id[:6]}-2.png", f"easel-{job.id[:6]}-3.png"]
    assert all(one.description for one in files)


@pytest.mark.parametrize("action", ["ask", "remix"])
async def test_under_a_picture_that_was_deleted_elsewhere_no_old_text_becomes_a_job(
    app: DiscordApp, ann: SimulatedUser, action: str
) -> None:
    grid = await imagine_and_wait(ann, count=2, seed=7)
    job = await job_of(app, grid)
    ann.press_unchecked(grid, f"v1:show:{job.id}:2")
    shown = await ann.finished(2)
    person = await app.person(ann.person.id)
    await app.application.usecases.pictures.delete_picture(person, job.id, 2)
    pressed = ann.press(shown, action)
    await until(lambda: pressed.texts or pressed.modal, "an answer")

    assert (pressed.modal is not None) == (action == "remix")
    assert len(ann.channel.from_bot) == 2


async def test_a_button_forged_under_another_jobs_message_does_nothing(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    secret = await job_of(app, await imagine_and_wait(ann, prompt="a secret", count=2))
    elsewhere = bob.in_channel(ann.server.state.channel())
    own = await imagine_and_wait(elsewhere)
    forged = [f"v1:vary:{secret.id}:2", f"v1:original:{secret.id}", f"v1:remix:{secret.id}:2"]
    answers = [await elsewhere.private_reply(elsewhere.press_unchecked(own, one)) for one in forged]

    assert ["no longer works" in answer for answer in answers] == [True] * 3
    assert len(elsewhere.channel.from_bot) == 1


async def test_after_retention_each_use_of_the_pictures_says_that_they_are_deleted(
    app: DiscordApp, ann: SimulatedUser
) -> None:
    grid = await imagine_and_wait(ann, count=2)
    job = await job_of(app, grid)
    await app.storage.media.sweep(unused_s=0, keep_days=0, max_gb=1e-9)
    answers = [
        await ann.private_reply(ann.press_unchecked(grid, f"v1:{action}:{job.id}:2"))
        for action in ("show", "vary", "ask", "favourite")
    ]
    answers.append(await ann.private_reply(ann.slash("show", id=job.id)))
    ann.write_message("make it red", reply_to=grid)
    answers.append((await ann.posted(2)).content)

    assert ["has been deleted" in answer for answer in answers] == [True] * 6


def test_pictures_that_are_alike_keep_their_own_numbers_and_descriptions() -> None:
    media = [Media(data, "image/png") for data in (b"fox", b"fox", b"owl")]
    ids = [hashlib.sha256(one.data).hexdigest() for one in media]
    made = tuple(StoredImage(id=one, media_type="image/png", width=8, height=8) for one in ids)
    job = make_job(result=Result(media=made))

    assert [one.number for one in match_pictures(job, media)] == [1, 2, 3]
    assert [one.number for one in match_pictures(job, media[1:])] == [1, 3]


async def test_of_pictures_that_were_compared_the_best_is_attached_and_the_others_have_their_buttons(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    models = app.application.usecases.models
    models.add_model(ModelSpec(name="judge", tasks=(ZERO_SHOT_IMAGE_CLASSIFICATION,), repo="judge"))
    app.pool.set_models(models.installed())
    best = await imagine_and_wait(ann, best=3, seed=7)
    job = await job_of(app, best)
    bob.press_unchecked(best, f"v1:show:{job.id}:2")
    shown = await ann.finished(2)

    assert job.result is not None
    assert [one.seed for one in job.result.media] == [9, 8, 7]
    assert [one.filename for one in best.attachments] == [f"easel-{job.id[:6]}-1.png"]
    assert rows_under(best)[0] == ["U1", "U2", "U3"]
    assert "Picture 2 of 3, 64x64, seed 8" in shown.content
