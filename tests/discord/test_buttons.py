"""The buttons under a result: what they do, for whom, and how often."""

import asyncio
import io

from PIL import Image

from tests.discord.app_fixture import DiscordApp
from tests.discord.loopback.discord_server_state import Message
from tests.discord.simulated_users import SimulatedUser, until
from tests.discord.test_conversation import a_photo, imagine_and_wait, imagined_late, job_of


async def test_reroll_and_vary_make_more_for_the_person_who_presses(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    made = await imagine_and_wait(ann, seed=7)

    bob.press(made, "reroll")
    again = await ann.finished(2)
    bob.press(made, "vary")
    varied = await ann.finished(3)

    job = await job_of(app, again)
    assert job.owner == (await app.person(bob.person.id)).id
    assert job.options["seed"] != 7
    assert varied.attachments


def size_of(message: Message) -> tuple[int, int]:
    return Image.open(io.BytesIO(message.attachments[0].data)).size


async def test_upscale_makes_it_twice_as_large_with_a_model_that_takes_the_size(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    made = await imagine_and_wait(ann)
    bob.press(made, "upscale")

    larger = await ann.finished(2)

    job = await job_of(app, larger)
    assert (size_of(made), size_of(larger)) == ((64, 64), (128, 128))
    assert (job.command, job.options["method"], job.model) == ("upscale", "refine", "paint")
    assert job.owner == (await app.person(bob.person.id)).id
    assert "128x128" in larger.content
    assert "Only resized" not in larger.content


async def test_upscale_only_resizes_what_would_take_long_and_says_so(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await imagine_and_wait(ann, size="128x128")
    ann.press(made, "upscale")
    refined = await ann.finished(2)
    ann.press(refined, "upscale")

    larger = await ann.finished(3)

    jobs = [await job_of(app, one) for one in (refined, larger)]
    assert [size_of(one) for one in (refined, larger)] == [(256, 256), (512, 512)]
    assert [job.options["method"] for job in jobs] == ["refine", "resize"]
    assert "Only resized: refining 512x512 takes long" in larger.content
    assert larger.button("upscale")


async def test_upscale_is_also_typed(app: DiscordApp, ann: SimulatedUser) -> None:
    ann.slash("upscale", image=a_photo(app.server))

    assert size_of(await ann.finished()) == (96, 64)


async def test_cancel_stops_the_job_and_says_so_in_its_message(app: DiscordApp, ann: SimulatedUser) -> None:
    ann.slash("imagine", prompt="a slow fox", steps=50)
    message = await ann.posted()

    pressed = ann.press(message, "cancel")
    await ann.finished()

    assert "Cancelled" in message.content
    assert pressed.answers[0]["type"] == 6


async def test_original_sends_the_file_as_rendered_to_the_person_alone(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    made = await imagine_and_wait(ann)

    pressed = bob.press(made, "original")
    await until(lambda: pressed.messages, "the original")

    assert pressed.messages[0].ephemeral_for is bob.person
    assert pressed.messages[0].attachments[0].data == made.attachments[0].data


async def test_delete_takes_the_message_and_the_job_away(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await imagine_and_wait(ann)

    ann.press(made, "delete")
    await until(lambda: not ann.channel.from_bot, "the message to go")

    person = await app.person(ann.person.id)
    assert (await app.application.usecases.jobs.list_tickets(person))[0] == []


async def test_delete_pressed_again_takes_a_message_away_that_stayed(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await imagine_and_wait(ann)
    for path in ("/channels/", "/webhooks/"):
        app.server.fail("DELETE", path, 400)
    first = ann.press(made, "delete")
    await until(lambda: len(app.server.state.sent("DELETE", "/")) >= 3, "two refusals")
    assert made.id in ann.channel.messages

    ann.press(made, "delete")

    await until(lambda: not ann.channel.from_bot, "the message to go")
    assert first.is_answered


async def test_delete_of_a_message_that_is_gone_deletes_the_job(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await imagine_and_wait(ann)
    await job_of(app, made)
    app.server.fail("DELETE", "/channels/", 404, code=10008)

    ann.press(made, "delete")

    person = await app.person(ann.person.id)
    while (await app.application.usecases.jobs.list_tickets(person))[0]:  # noqa: ASYNC110 - asked from outside
        await asyncio.sleep(0.02)


async def test_delete_takes_every_message_of_the_job_away(app: DiscordApp, ann: SimulatedUser) -> None:
    app.server.fail("DELETE", "/channels/", 403, code=50013)
    placeholder, made = await imagined_late(app, ann)
    await job_of(app, made)
    assert placeholder in ann.channel.from_bot

    ann.press(made, "delete")

    await until(lambda: not ann.channel.from_bot, "both messages to go")


async def test_nobody_else_takes_a_deleted_jobs_message_away(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    made = await imagine_and_wait(ann)
    job = await job_of(app, made)
    await app.application.usecases.chat.delete_job(await app.person(ann.person.id), job.id)

    pressed = bob.press(made, "delete")

    assert "no longer works" in await bob.private_reply(pressed)
    assert made.id in ann.channel.messages


async def test_a_delete_forged_from_ones_own_job_takes_nobody_elses_message_away(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    theirs = await imagine_and_wait(ann)
    own = await job_of(app, await imagine_and_wait(bob))

    pressed = bob.press_unchecked(theirs, f"v1:delete:{own.id}")

    assert "no longer works" in await bob.private_reply(pressed)
    assert len(ann.channel.from_bot) == 2


async def test_a_button_may_be_pressed_often(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await imagine_and_wait(ann)

    pressed = [ann.press(made, "reroll") for _ in range(3)]
    await ann.finished(4)

    assert all(one.is_answered for one in pressed)


async def test_a_button_of_the_history_shows_the_picture_again_to_its_owner_alone(
    app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser
) -> None:
    job = await job_of(app, await imagine_and_wait(ann, "a red fox"))
    await imagine_and_wait(ann, "a blue owl")
    listed = ann.slash("history", page=1)
    await until(lambda: listed.messages and listed.messages[0].buttons, "the list")
    history = listed.messages[0]
    text = history.content

    pressed = ann.press_unchecked(history, f"v1:show:{job.id}")
    await until(lambda: pressed.messages and pressed.messages[0].attachments, "the picture")
    refused = await bob.private_reply(bob.press_unchecked(history, f"v1:show:{job.id}"))

    labels = [button["label"] for row in history.components for button in row["components"]]
    assert labels == ["1", "2"]
    assert history.buttons[1] == f"v1:show:{job.id}"
    assert "a red fox" in pressed.messages[0].content
    assert pressed.messages[0].ephemeral_for is ann.person
    assert history.content == text
    assert refused == "Only the person who asked for it can do that."
