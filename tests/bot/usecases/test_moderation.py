"""What is judged, and what is shown where it cannot be checked: decided by what a command answers with."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from bot.commands import COMMANDS, Answer
from bot.errors import Blocked
from bot.jobs import BY_BOT, ImageRef, Origin, Result, StoredImage
from bot.models import IMAGE_TO_TEXT
from bot.ports import ModelCapabilities, SpacePolicy
from bot.safety import BlockedWords, SafetySettings, Verdict
from bot.safety.policy import verdict
from bot.usecases import Moderation
from tests.fakes import make_job, make_model
from tests.moderation import FakeClassifierAvailability
from tests.new_command import Mirror, registered  # noqa: F401 - a fixture for all of this module

SHOW, SPOILER, BLOCK = Verdict.SHOW, Verdict.SPOILER, Verdict.BLOCK
DEMO, REAL = make_model(name="starter", demo=True), make_model(name="real")
CHAT = Origin(platform="discord", space_id="1", account_id="ann", chat_id="10", age_restricted=False)
ELSEWHERE = replace(CHAT, chat_id="11")
PHOTO, RESIZE, REFINE = ImageRef("photo"), {"method": "resize"}, {"method": "refine", "prompt": "a fox"}
ANSWERS_IMAGES = ("imagine", "edit", "blend", "upscale", "cutout", "preview", "zoom", "pan", "square", "grid", "mirror")


class Spaces:
    async def get_policy(self, *_: Any) -> SpacePolicy:
        return SpacePolicy()


class LocalPerson:
    async def local_person(self) -> Any:
        return SimpleNamespace(id="owner")

    async def names_of(self, platform: str, account_id: str) -> frozenset[str]:
        return frozenset({account_id, f"other account of {account_id}"})


def make_moderation(*, is_installed: bool = True, **settings: Any) -> Moderation:
    classifier: Any = FakeClassifierAvailability(is_installed=is_installed)
    stores: Any = {"spaces": Spaces(), "people": LocalPerson()}
    return Moderation(**stores, classifier=classifier, settings=SafetySettings(**settings))


def make_request(name: str, *, images: tuple[ImageRef, ...] = (PHOTO,), **values: Any) -> Any:
    return COMMANDS[name](values=values, images=images)


async def is_judged(command: str, model: Any, images: tuple[ImageRef, ...], options: Any) -> bool:
    job = make_job(command=command, images=images, options=options, task=IMAGE_TO_TEXT)
    return await make_moderation().rules_for(job, model) is not None


# ---------------------------------------------------------------- what is judged


def test_these_are_the_commands_that_answer_with_images():
    assert {name for name, kind in COMMANDS.items() if kind.answers is Answer.IMAGES} == set(ANSWERS_IMAGES)


@pytest.mark.parametrize("model", [DEMO, REAL])
@pytest.mark.parametrize("options", [{}, RESIZE, REFINE])
@pytest.mark.parametrize("command", [*ANSWERS_IMAGES, "a command of another version"])
async def test_what_is_made_from_an_image_is_judged_whatever_made_it(command, options, model):
    assert await is_judged(command, model, (PHOTO,), options)


@pytest.mark.parametrize(("model", "expected"), [(DEMO, False), (REAL, True)])
async def test_a_demo_model_is_exempt_where_no_image_came_in(model, expected):
    assert await is_judged("imagine", model, (), {}) is expected


@pytest.mark.parametrize("command", [name for name, kind in COMMANDS.items() if kind.answers is not Answer.IMAGES])
async def test_answers_in_words_are_not_judged(command):
    assert not await is_judged(command, REAL, (PHOTO,), {})


@pytest.mark.parametrize(
    ("platform", "account"), [("discord", "ann"), ("telegram", "ann"), ("web", "ann"), ("cli", "owner")]
)
@pytest.mark.parametrize(("command", "options"), [*((name, {}) for name in ANSWERS_IMAGES), ("upscale", RESIZE)])
async def test_other_peoples_images_are_not_edited_by_any_command(command, options, platform, account):
    origin = Origin(platform=platform, space_id="1", account_id=account)
    theirs = make_request(command, images=(replace(PHOTO, author="bob"),))

    with pytest.raises(Blocked) as refused:
        await make_moderation().check_request(origin, DEMO, [(theirs, options)])
    await make_moderation(edit_others=True).check_request(origin, DEMO, [(theirs, options)])
    for author in ("", BY_BOT, account, f"other account of {account}"):
        own = make_request(command, images=(replace(PHOTO, author=author),))
        await make_moderation().check_request(origin, DEMO, [(own, options)])

    assert refused.value.reason == "others"


# ---------------------------------------------------------------- without a classifier


async def shown_unchecked(origin, command="upscale", options=RESIZE, *, images=(PHOTO,), model=DEMO, **settings):
    """How an image is shown that nobody could check; the request is refused if it would not be."""
    moderation = make_moderation(is_installed=False, **settings)
    job = make_job(command=command, images=images, options=options, origin=origin)
    rules = await moderation.rules_for(job, model)
    assert rules is not None
    shown = verdict(rules, None)
    reason = "no_check" if model.demo or options == RESIZE else "no_classifier"
    refused = None
    try:
        await moderation.check_request(origin, model, [(make_request(command, images=images), options)])
    except Blocked as error:
        refused = error.reason
    assert refused == (reason if shown is BLOCK else None)
    return shown


@pytest.mark.parametrize("policy", ["block", "spoiler", "allow"])
@pytest.mark.parametrize("command", ANSWERS_IMAGES)
async def test_it_is_behind_a_spoiler_in_the_chat_where_the_image_was_posted(command, policy):
    for origin in (CHAT, replace(CHAT, platform="telegram", age_restricted=None)):
        assert await shown_unchecked(origin, command, {}, policy=policy) is SPOILER
        assert await shown_unchecked(origin, policy=policy) is SPOILER
        foreign = replace(PHOTO, is_foreign=True)
        assert await shown_unchecked(origin, command, {}, images=(foreign,), policy=policy) is BLOCK


@pytest.mark.parametrize("policy", ["block", "spoiler", "allow"])
async def test_no_unchecked_preview_is_shown_there(policy):
    job = make_job(command="imagine", images=(PHOTO,), origin=CHAT)
    rules = await make_moderation(is_installed=False, policy=policy).rules_for(job, DEMO)

    assert not rules.may_preview


@pytest.mark.parametrize("platform", ["web", "cli"])
@pytest.mark.parametrize(("policy", "expected"), [("block", BLOCK), ("spoiler", SPOILER), ("allow", SHOW)])
async def test_the_owners_own_policy_decides_on_their_page_and_command_line(platform, policy, expected):
    for is_admin in (True, False):
        origin = Origin(platform=platform, space_id=platform, account_id="owner", is_admin=is_admin)
        for command, options, model in (("upscale", RESIZE, REAL), ("imagine", {}, DEMO), ("mirror", {}, REAL)):
            shown = await shown_unchecked(origin, command, options, model=model, local_policy=policy)
            assert shown is expected


@pytest.mark.parametrize(("command", "options"), [*((name, {}) for name in ANSWERS_IMAGES), ("upscale", RESIZE)])
async def test_it_is_refused_to_other_people_on_the_page(command, options):
    origin = Origin(platform="web", space_id="web", account_id="ann")

    assert await shown_unchecked(origin, command, options, policy="allow") is BLOCK
    assert await shown_unchecked(replace(origin, is_admin=True), command, options) is SPOILER


@pytest.mark.parametrize("words", ["prompt", "negative_prompt"])
async def test_what_a_real_model_draws_from_words_is_refused_even_if_it_starts_from_an_image(words):
    """At full strength nothing is left of the image: this would be a way around the check of `imagine`."""
    assert await shown_unchecked(CHAT, "imagine", {words: "a fox"}, model=REAL) is BLOCK
    assert await shown_unchecked(CHAT, "imagine", {words: "a fox"}, model=DEMO) is SPOILER
    assert await shown_unchecked(CHAT, "imagine", {"prompt": "a fox"}, images=(), model=REAL) is BLOCK


async def test_a_classifier_that_is_installed_and_broken_shows_nothing():
    moderation = make_moderation()
    moderation.on_model_loaded(ModelCapabilities(model="real", capabilities={"checker": "broken"}))

    with pytest.raises(Blocked):
        await moderation.check_request(CHAT, DEMO, [(make_request("upscale"), RESIZE)])


# ---------------------------------------------------------------- shown again


def make_result(**marks: Any) -> Result:
    return Result(media=(StoredImage(id="a", media_type="image/png", width=8, height=8, **marks),))


@pytest.mark.parametrize(
    ("marks", "policy", "here", "elsewhere"),
    [
        ({}, "block", SHOW, SHOW),
        ({"is_adult": True}, "block", BLOCK, BLOCK),
        ({"is_adult": True}, "spoiler", SPOILER, SPOILER),
        ({"is_adult": True}, "allow", SHOW, SHOW),
        ({"is_adult": True, "is_unchecked": True, "is_spoiler": True}, "block", SPOILER, BLOCK),
        ({"is_adult": True, "is_unchecked": True, "is_spoiler": True}, "allow", SPOILER, BLOCK),
    ],
)
async def test_what_is_shown_again_is_judged_by_the_place(marks, policy, here, elsewhere):
    job, moderation = make_job(origin=CHAT, result=make_result(**marks)), make_moderation(policy=policy)
    places = [replace(place, age_restricted=True) for place in (CHAT, ELSEWHERE)]

    assert [await moderation.judge_again(place, job) for place in places] == [here, elsewhere]


async def test_adult_images_are_hidden_where_they_are_posted_again_though_they_were_shown_before():
    job = make_job(origin=CHAT, result=make_result(is_adult=True))

    assert (
        await make_moderation(policy="spoiler").require_showable(replace(ELSEWHERE, age_restricted=None), job)
        is SPOILER
    )
    with pytest.raises(Blocked):
        await make_moderation(policy="allow").require_showable(ELSEWHERE, job)


def test_adult_images_are_only_delivered_where_they_were_asked_for():
    adult, harmless = (make_job(origin=CHAT, result=make_result(is_adult=is_adult)) for is_adult in (True, False))

    assert [job.may_be_delivered_to(chat) for job in (adult, harmless) for chat in ("10", "11")] == [
        True,
        False,
        True,
        True,
    ]


def test_the_new_command_is_in_no_list():
    assert Mirror(values={}, images=(PHOTO,)).task == IMAGE_TO_TEXT


# ---------------------------------------------------------------- words of prompts


@pytest.mark.parametrize(
    ("prompt", "negative"),
    [
        ("a forbidden thing", ""),
        ("a [forb|x]idden thing", ""),
        ("a [x:forbidden:0.5] thing", ""),
        ("a for[ :bid:3]den thing", ""),
        ("a (forb)(idden:-1) thing", ""),
        ("a fox", "red, (forbidden:-1)"),
        ("a fox", "(forbidden:[1:-2:0.5])"),
        ("a two", "(words:-1)"),
    ],
)
async def test_a_blocked_word_is_found_in_each_reading_of_the_prompt(prompt, negative):
    moderation = replace(make_moderation(), words=BlockedWords(["forbidden", "two words"]))
    options = {"prompt": prompt, "negative_prompt": negative, "steps": 20}

    with pytest.raises(Blocked):
        await moderation.check_request(CHAT, DEMO, [(make_request("imagine", images=()), options)])


@pytest.mark.parametrize("negative", ["forbidden", "(forbidden:1.3), [forbidden|red]"])
async def test_a_negative_prompt_may_name_what_is_to_be_left_out(negative):
    moderation = replace(make_moderation(), words=BlockedWords(["forbidden"]))
    options = {"prompt": "a fox", "negative_prompt": negative, "steps": 20}

    await moderation.check_request(CHAT, DEMO, [(make_request("imagine", images=()), options)])


@pytest.mark.parametrize("name", ["region", "detail"])
async def test_the_parts_of_a_picture_that_are_named_are_texts_too(name):
    moderation = replace(make_moderation(), words=BlockedWords(["forbidden"]))

    with pytest.raises(Blocked):
        await moderation.check_request(
            CHAT, DEMO, [(make_request("imagine", images=()), {"prompt": "a fox", name: "the forbidden thing"})]
        )


# ---------------------------------------------------------------- parts of pictures


@pytest.mark.parametrize("command", [*ANSWERS_IMAGES, "ask"])
async def test_what_shows_its_input_in_another_form_is_as_adult_as_that(command):
    rules = await make_moderation().rules_for(make_job(command=command, images=(PHOTO,)), REAL)

    expected = command in ("upscale", "cutout", "preview", "zoom", "pan", "square")
    assert (rules is not None and rules.keeps_inputs) is expected


@pytest.mark.parametrize("command", ["blend", "zoom", "pan", "square"])
async def test_what_is_painted_around_or_from_pictures_is_drawn_also_without_a_prompt(command):
    assert await shown_unchecked(CHAT, command, {"prompt": ""}, model=REAL) is BLOCK
    assert await shown_unchecked(CHAT, command, {"prompt": ""}, model=DEMO) is SPOILER


@pytest.mark.parametrize("part", ["region", "detail"])
@pytest.mark.parametrize(("prompt", "name"), [("naked, on a beach", "the child"), ("a small girl", "naked breasts")])
async def test_the_words_for_a_part_are_read_together_with_the_prompt(part, prompt, name):
    moderation = make_moderation()
    for texts in ({"prompt": prompt}, {part: name}):
        await moderation.check_request(CHAT, DEMO, [(make_request("imagine", **texts), texts)])
    for texts in ({"prompt": prompt, part: name}, {"prompt": "a", "prompts": ["b", prompt], part: name}):
        with pytest.raises(Blocked) as refused:
            await moderation.check_request(CHAT, DEMO, [(make_request("imagine", **texts), texts)])
        assert refused.value.reason == "minors"


@pytest.mark.parametrize(
    ("options", "caption"),
    [
        ({}, "a naked child"),
        ({"prompt": "naked"}, "a child in a garden"),
        ({"prompts": ["a fox", "naked"]}, "a child in a garden"),
        ({"detail": "naked body"}, "a child in a garden"),
        ({"negative_prompt": "(naked:-1)"}, "a child in a garden"),
    ],
)
async def test_a_caption_that_may_not_be_asked_for_is_no_prompt(options, caption):
    job = make_job(command="zoom", options=options, images=(PHOTO,))
    await make_moderation().check_caption(job, "a fox")
    with pytest.raises(Blocked) as refused:
        await make_moderation().check_caption(job, caption)
    assert refused.value.reason == "picture"


async def test_the_names_of_parts_are_read_together():
    texts: dict[str, Any] = {"region": "the child", "detail": "naked body"}
    with pytest.raises(Blocked):
        await make_moderation().check_request(CHAT, DEMO, [(make_request("imagine", **texts), texts)])
