"""Controls and references on Discord: slash options, and flags in the one option that takes all others."""

from typing import Any

import pytest

from bot.jobs import BY_BOT
from tests.discord.app_fixture import DiscordApp
from tests.discord.simulated_users import SimulatedUser
from tests.discord.test_conversation import a_photo, imagine_and_wait, job_of


async def test_a_control_has_its_kind_and_further_flags(app: DiscordApp, ann: SimulatedUser) -> None:
    control = a_photo(app.server, seed=3)
    flags = "--sampler euler --guidance 4"
    made = await imagine_and_wait(ann, "a castle", control=control, control_kind="canny", flags=flags)
    job = await job_of(app, made)

    assert [(image.role, image.kind, image.ready) for image in job.images] == [("control", "canny", False)]
    assert (job.options["sampler"], job.options["guidance_scale"], job.task) == ("euler", 4, "text-to-image")


async def test_typed_flags_are_about_the_attached_pictures(app: DiscordApp, ann: SimulatedUser) -> None:
    files = {"control": a_photo(app.server, seed=3), "image": a_photo(app.server, seed=4)}
    made = await imagine_and_wait(ann, "a hat", **files, flags="--style-of 0.6 --control canny:0.8:0:0.5:ready")
    images = (await job_of(app, made)).images

    assert [(image.role, image.kind, image.weight) for image in images] == [
        ("reference", "style", 0.6),
        ("control", "canny", 0.8),
    ]
    assert images[0].id != images[1].id


@pytest.mark.parametrize(
    ("command", "options", "option"),
    [("zoom", {"factor": 2}, ("factor", 2.0)), ("pan", {"prompt": "up"}, ("direction", "up"))],
)
async def test_a_picture_grows_by_a_slash_command(
    app: DiscordApp, ann: SimulatedUser, command: str, options: dict[str, Any], option: tuple[str, Any]
) -> None:
    ann.slash(command, image=a_photo(app.server), **options)
    job = await job_of(app, await ann.finished())

    assert (job.command, job.options[option[0]]) == (command, option[1])
    assert [image.role for image in job.images] == ["init"]


async def test_an_own_job_is_named_by_its_id(app: DiscordApp, ann: SimulatedUser, bob: SimulatedUser) -> None:
    first = await job_of(app, await imagine_and_wait(ann))
    made = await imagine_and_wait(ann, "a castle", flags=f"--style-of {first.id[:8]}")
    [style] = (await job_of(app, made)).images
    refused = await bob.private_reply(bob.slash("imagine", prompt="x", flags=f"--style-of {first.id}"))

    assert (style.id, style.kind, style.author) == (first.result.media[0].id, "style", BY_BOT)
    assert refused == f"You have no job called {first.id}."


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"control": "photo"}, "Say what kind of control the picture is: canny, "),
        ({"control_kind": "canny"}, "This needs a picture: attach one, or reply to one."),
        ({"image": "photo", "flags": "--control cany"}, "kind cannot be \u201ccany\u201d. Did you mean canny?"),
        ({"flags": "a castle"}, "This command accepts no text, only options: "),
        ({"steps": 3, "flags": "--steps 4"}, "steps was given twice; give it once."),
        ({"flags": "--prompt x"}, "Unknown option prompt."),
        ({"image": "photo", "flags": "--control canny:1e400"}, "weight is inf, but must be 0 to 2."),
    ],
)
async def test_what_cannot_be_is_one_sentence(app: DiscordApp, ann: SimulatedUser, options, sentence) -> None:
    files = {name: a_photo(app.server) if one == "photo" else one for name, one in options.items()}

    assert (await ann.private_reply(ann.slash("imagine", prompt="a castle", **files))).startswith(sentence)
    assert not ann.channel.from_bot


async def test_a_part_is_changed_by_a_form_of_two_fields(app: DiscordApp, ann: SimulatedUser) -> None:
    made = await imagine_and_wait(ann)
    first = await job_of(app, made)
    assert not any(one.startswith("v1:region") for one in made.buttons)
    opened = ann.press_unchecked(made, f"v1:region:{first.id}")
    sent = await ann.submit(opened, "the hat: its brim", "a crown --seed 7")

    assert (await ann.private_reply(sent)).startswith("I can't find things by their names in pictures here yet")
