"""A child looks at what its engines make, whatever the engine; a line of torch-free code stands for the classifier."""

import pytest

from bot.errors import Blocked
from bot.models import IMAGE_CLASSIFICATION, ModelSpec
from bot.ports import Described, Progress, Rules
from tests.inference.support import collect, finish, make_model, make_task, open_pool
from tests.moderation import SOME_WEIGHTS

CLASSIFIER = ModelSpec(name="classifier", tasks=(IMAGE_CLASSIFICATION,), repo=SOME_WEIGHTS)
BLOCK, ALLOW = (Rules(policy=policy, threshold=0.5) for policy in ("block", "allow"))


def always(score):
    return {"classifier": CLASSIFIER, "checker": f"tests.inference.engines:{score}"}


@pytest.mark.parametrize(("score", "expected"), [("harmless", 0.1), ("adult", 0.9)])
async def test_a_picture_leaves_its_child_with_a_score(score, expected):
    async with open_pool(**always(score)) as pool:
        done = await finish(pool, make_task(rules=BLOCK, options={"count": 2}))

    assert [made.nsfw for made in done.pictures] == [expected] * 2


async def test_where_there_is_no_classifier_it_has_none():
    async with open_pool() as pool:
        done = await finish(pool, make_task(rules=BLOCK))

    assert done.pictures[0].nsfw is None


@pytest.mark.parametrize("score", ["nothing", "broken"])
async def test_a_failing_check_ends_the_task_and_the_child_goes_on(score):
    async with open_pool([make_model(), make_model("demo", demo=True)], **always(score)) as pool:
        with pytest.raises(Blocked):
            await finish(pool, make_task(rules=ALLOW))

        done = await finish(pool, make_task(id="next", model=make_model("demo", demo=True)))

        assert done.pictures
        assert pool.statuses()[0].restarts == 0


async def test_no_preview_leaves_a_child_where_not_everything_may_be_shown():
    async with open_pool(**always("harmless")) as pool:
        hidden, shown = [
            [event.preview for event in await collect(pool, make_task(id=name, rules=rules, watched=True))
             if isinstance(event, Progress)]
            for name, rules in (("a", BLOCK), ("b", ALLOW))
        ]  # fmt: skip

    assert not any(hidden)
    assert any(shown)


async def test_what_was_loaded_is_told_with_the_model():
    async with open_pool(**always("harmless")) as pool:
        events = await collect(pool, make_task(rules=BLOCK))

    assert [event.form["checker"] for event in events if isinstance(event, Described)] == ["ready"]
