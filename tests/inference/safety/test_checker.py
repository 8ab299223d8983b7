"""A child checks the images of every engine; torch-free functions are used as classifiers. Each has one pool."""

import asyncio
import io
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from PIL import Image
from structlog.testing import capture_logs

from bot.errors import Blocked
from bot.jobs import Media
from bot.models import IMAGE_CLASSIFICATION, ModelSpec
from bot.ports import ModelCapabilities, Progress, SafetyRules, TaskImage
from inference.safety.checker import SafetyChecker
from tests.inference.support import collect, finish, make_model, make_task, open_pool, wait_until
from tests.moderation import SOME_WEIGHTS

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("forked_workers")]

CLASSIFIER = ModelSpec(name="classifier", tasks=(IMAGE_CLASSIFICATION,), repo=SOME_WEIGHTS)
BLOCK, ALLOW = (SafetyRules(policy=policy, threshold=0.5) for policy in ("block", "allow"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pool_with():
    """Returns the pool whose classifier is this function of `tests.inference.engines`; "": no classifier."""
    pools = {}
    async with AsyncExitStack() as stack:

        async def pool_with(name):
            if name not in pools:
                classifier = CLASSIFIER if name else None
                factory = f"tests.inference.engines:{name}"
                pool = open_pool([make_model()], classifier=classifier, classifier_factory=factory)
                pools[name] = await stack.enter_async_context(pool)
            return pools[name]

        yield pool_with


@pytest.mark.parametrize(("classifier", "expected"), [("harmless", 0.1), ("adult", 0.9)])
async def test_every_image_has_a_score(pool_with, classifier, expected):
    output = await finish(await pool_with(classifier), make_task(rules=BLOCK, options={"count": 2}))

    assert [image.nsfw for image in output.images] == [expected] * 2


async def test_images_have_no_score_without_a_classifier(pool_with):
    output = await finish(await pool_with(""), make_task(rules=BLOCK))

    assert output.images[0].nsfw is None


@pytest.mark.parametrize("classifier", ["not_a_number", "failing", "broken"])
async def test_a_failing_check_ends_the_task_and_not_the_child(pool_with, classifier):
    pool = await pool_with(classifier)
    with pytest.raises(Blocked):
        await finish(pool, make_task(rules=ALLOW))

    output = await finish(pool, make_task(id="next", model=make_model("demo", demo=True)))

    assert output.images
    assert pool.device_statuses()[0].restarts == 0


@pytest.mark.parametrize(
    ("classifier", "event", "action"),
    [
        ("broken", "The safety classifier cannot be loaded", "classifier_broken"),
        ("broken", "An image could not be checked", "check_failed"),
        ("failing", "An image could not be checked", "check_failed"),
    ],
)
async def test_a_failing_classifier_is_a_warning_in_the_parents_log(pool_with, classifier, event, action):
    pool = await pool_with(classifier)
    with capture_logs() as logs:
        with pytest.raises(Blocked):
            await finish(pool, make_task(rules=BLOCK))
        await wait_until(lambda: any(entry["event"] == event for entry in logs))

    entries = [entry for entry in logs if entry["event"] == event]
    assert {(entry["log_level"], entry["action"], entry["child"]) for entry in entries} == {("warning", action, "cpu")}


def with_photo(**overrides):
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "gray").save(out, "PNG")
    photo = TaskImage("init", Media(out.getvalue(), "image/png"))
    return make_task(**{"id": "photo", "rules": BLOCK, "images": (photo,), **overrides})


@pytest.mark.parametrize(("classifier", "refusal"), [("adult", "picture"), ("failing", "unchecked"), ("", "unchecked")])
@pytest.mark.parametrize("model", [{"demo": True}, {"tasks": ("image-to-text",)}])
async def test_the_rules_of_a_task_and_not_its_model_decide_what_is_checked(pool_with, model, classifier, refusal):
    with pytest.raises(Blocked) as refused:
        await finish(await pool_with(classifier), with_photo(model=make_model("other", **model)))

    assert refused.value.reason == refusal


async def test_a_demo_models_images_have_a_score_where_they_have_rules(pool_with):
    output = await finish(await pool_with("harmless"), with_photo(model=make_model("demo", demo=True)))

    assert [image.nsfw for image in output.images] == [0.1]


@pytest.mark.parametrize(("classifier", "expected"), [("adult", 0.9), ("", None)])
async def test_a_safety_check_needs_no_slot(pool_with, classifier, expected, tmp_path):
    pool, gate = await pool_with(classifier), tmp_path / "go"
    working = asyncio.create_task(finish(pool, make_task(f"wait-for={gate} steps=1", id="working")))
    await wait_until(lambda: not pool.list_offers())
    check = asyncio.create_task(finish(pool, with_photo(task=IMAGE_CLASSIFICATION, model=CLASSIFIER)))
    gate.touch()

    assert (await check).scores == (expected,)
    assert (await working).images
    assert pool.device_statuses()[0].loaded.count(CLASSIFIER.name) == 0


@pytest.mark.parametrize("classifier", ["failing", "broken", "not_a_number"])
async def test_a_safety_check_that_fails_gives_no_score(pool_with, classifier):
    with pytest.raises(Blocked):
        await finish(await pool_with(classifier), with_photo(task=IMAGE_CLASSIFICATION, model=CLASSIFIER))


async def test_previews_are_withheld_unless_everything_may_be_shown(pool_with):
    pool = await pool_with("harmless")
    hidden, shown = [
        [event.preview for event in await collect(pool, make_task(id=name, rules=rules, wants_previews=True))
         if isinstance(event, Progress)]
        for name, rules in (("a", BLOCK), ("b", ALLOW))
    ]  # fmt: skip

    assert not any(hidden)
    assert any(shown)


async def test_a_models_capabilities_name_the_state_of_the_classifier(pool_with):
    task = make_task(rules=BLOCK, model=make_model("described"))
    events = await collect(await pool_with("harmless"), task)

    assert [event.capabilities["checker"] for event in events if isinstance(event, ModelCapabilities)] == ["ready"]


def with_alpha(colour, alpha):
    """An image of one colour whose left half has this alpha; the right half is transparent."""
    image = Image.new("RGBA", (8, 8), (*colour, 0))
    image.paste((*colour, alpha), (0, 0, 4, 8))
    return image


@pytest.mark.parametrize(
    ("image", "expected", "looks"),
    [
        (with_alpha((255, 255, 255), 255), 0.9, 2),  # visible on dark backgrounds only
        (with_alpha((0, 0, 0), 255), 0.9, 2),  # on light ones only
        (with_alpha((128, 128, 128), 9), 0.1, 2),
        (Image.new("RGBA", (8, 8), "white"), 0.1, 1),
        (Image.new("RGB", (8, 8), "white"), 0.1, 1),
    ],
)
async def test_a_transparent_image_is_judged_as_it_looks_on_light_and_on_dark(image, expected, looks):
    seen = []

    def score(view):
        seen.append(view.mode)
        low, high = view.convert("L").getextrema()
        return 0.9 if high - low > 100 else 0.1

    file = io.BytesIO()
    image.save(file, "PNG")
    task = make_task(rules=BLOCK, images=(TaskImage("", Media(file.getvalue(), "image/png")),))

    assert SafetyChecker([CLASSIFIER], lambda _spec: score).score_inputs(task) == (expected,)
    assert seen == ["RGB"] * looks
