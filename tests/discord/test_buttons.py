"""The buttons under a result: what they do, for whom, and how often."""

import asyncio
import io

from PIL import Image

from tests.discord.app_fixture import House
from tests.discord.loopback.discord_server_state import Message
from tests.discord.simulated_users import Actor, until
from tests.discord.test_conversation import a_photo, imagined, imagined_late, job_of


async def test_reroll_and_vary_make_more_for_whoever_presses(house: House, ann: Actor, bob: Actor) -> None:
    made = await imagined(ann, seed=7)

    bob.press(made, "reroll")
    again = await ann.finished(2)
    bob.press(made, "vary")
    varied = await ann.finished(3)

    job = await job_of(house, again)
    assert job.owner == (await house.person(bob.person.id)).id
    assert job.options["seed"] != 7
    assert varied.attachments


def size_of(message: Message) -> tuple[int, int]:
    return Image.open(io.BytesIO(message.attachments[0].data)).size


async def test_upscale_makes_it_twice_as_large_with_a_model_that_takes_the_size(
    house: House, ann: Actor, bob: Actor
) -> None:
    made = await imagined(ann)
    bob.press(made, "upscale")

    larger = await ann.finished(2)

    job = await job_of(house, larger)
    assert (size_of(made), size_of(larger)) == ((64, 64), (128, 128))
    assert (job.command, job.options["method"], job.model) == ("upscale", "refine", "paint")
    assert job.owner == (await house.person(bob.person.id)).id
    assert "128x128" in larger.content
    assert "Only resized" not in larger.content


async def test_upscale_resizes_what_no_model_takes_and_says_so(house: House, ann: Actor) -> None:
    made = await imagined(ann, size="128x128")
    ann.press(made, "upscale")

    larger = await ann.finished(2)

    job = await job_of(house, larger)
    assert size_of(larger) == (256, 256)
    assert job.options["method"] == "resize"
    assert "Only resized: no model here was to refine it at 256x256" in larger.content
    assert larger.button("upscale")


async def test_upscale_is_also_typed(house: House, ann: Actor) -> None:
    ann.slash("upscale", image=a_photo(house.server))

    assert size_of(await ann.finished()) == (96, 64)


async def test_cancel_stops_the_job_and_says_so_in_its_message(house: House, ann: Actor) -> None:
    ann.slash("imagine", prompt="a slow fox", steps=50)
    message = await ann.posted()

    pressed = ann.press(message, "cancel")
    await ann.finished()

    assert "Cancelled" in message.content
    assert pressed.answers[0]["type"] == 6


async def test_original_sends_the_file_as_rendered_to_the_person_alone(house: House, ann: Actor, bob: Actor) -> None:
    made = await imagined(ann)

    pressed = bob.press(made, "original")
    await until(lambda: pressed.messages, "the original")

    assert pressed.messages[0].ephemeral_for is bob.person
    assert pressed.messages[0].attachments[0].data == made.attachments[0].data


async def test_delete_takes_the_message_and_the_job_away(house: House, ann: Actor) -> None:
    made = await imagined(ann)

    ann.press(made, "delete")
    await until(lambda: not ann.channel.from_bot, "the message to go")

    person = await house.person(ann.person.id)
    assert (await house.inner.usecases.jobs.page(person))[0] == []


async def test_delete_pressed_again_takes_a_message_away_that_stayed(house: House, ann: Actor) -> None:
    made = await imagined(ann)
    for path in ("/channels/", "/webhooks/"):
        house.server.fail("DELETE", path, 400)
    first = ann.press(made, "delete")
    await until(lambda: len(house.server.world.sent("DELETE", "/")) >= 3, "two refusals")
    assert made.id in ann.channel.messages

    ann.press(made, "delete")

    await until(lambda: not ann.channel.from_bot, "the message to go")
    assert first.is_answered


async def test_delete_of_a_message_that_is_gone_deletes_the_job(house: House, ann: Actor) -> None:
    made = await imagined(ann)
    await job_of(house, made)
    house.server.fail("DELETE", "/channels/", 404, code=10008)

    ann.press(made, "delete")

    person = await house.person(ann.person.id)
    while (await house.inner.usecases.jobs.page(person))[0]:  # noqa: ASYNC110 - asked from outside
        await asyncio.sleep(0.02)


async def test_delete_takes_every_message_of_the_job_away(house: House, ann: Actor) -> None:
    _, made = await imagined_late(house, ann)
    await job_of(house, made)

    ann.press(made, "delete")

    await until(lambda: not ann.channel.from_bot, "both messages to go")


async def test_nobody_else_takes_a_deleted_jobs_message_away(house: House, ann: Actor, bob: Actor) -> None:
    made = await imagined(ann)
    job = await job_of(house, made)
    await house.inner.usecases.chat.delete(await house.person(ann.person.id), job.id)

    pressed = bob.press(made, "delete")

    assert "of yours" in await bob.told(pressed)
    assert made.id in ann.channel.messages


async def test_a_delete_forged_from_ones_own_job_takes_nobody_elses_message_away(
    house: House, ann: Actor, bob: Actor
) -> None:
    theirs = await imagined(ann)
    own = await job_of(house, await imagined(bob))

    pressed = bob.press_anyhow(theirs, f"v1:delete:{own.id}")

    assert "not one of mine" in await bob.told(pressed)
    assert len(ann.channel.from_bot) == 2


async def test_a_button_may_be_pressed_often(house: House, ann: Actor) -> None:
    made = await imagined(ann)

    pressed = [ann.press(made, "reroll") for _ in range(3)]
    await ann.finished(4)

    assert all(one.is_answered for one in pressed)
