"""Each part of `make fuzz` but schemathesis, with few cases: it runs, and what it once found stays fixed."""

import logging
import random
from functools import partial

import pytest
import pytest_asyncio
import structlog

from tests.fuzz.access_matrix import check_access_matrix, list_routes
from tests.fuzz.findings import run_part
from tests.fuzz.forged_chat import press_forged_buttons
from tests.fuzz.hostile_prompts import quote_hostile_prompts
from tests.fuzz.mutated_chat_events import poll_mutated_updates
from tests.fuzz.mutated_images import mutated_images
from tests.fuzz.program_bodies import post_program_bodies
from tests.fuzz.target import FuzzTarget, open_target
from tests.images_in_process import InProcessImages

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def target(tmp_path_factory):
    async with open_target(tmp_path_factory.mktemp("fuzz"), images=InProcessImages()) as opened:
        yield opened


async def test_one_person_reaches_nothing_of_another_by_any_route(target):
    findings = await run_part(target, check_access_matrix)

    assert findings.faults == []
    assert findings.cases > len(set(list_routes()))


@pytest.mark.parametrize(
    "part",
    [
        partial(quote_hostile_prompts, count=25, rng=random.Random(1)),
        partial(press_forged_buttons, count=60, rng=random.Random(1)),
        partial(poll_mutated_updates, count=60, rng=random.Random(1)),
        partial(post_program_bodies, count=20, rng=random.Random(1)),
    ],
    ids=["prompts", "buttons", "polling", "programs"],
)
async def test_hostile_input_is_answered_without_a_fault(target: FuzzTarget, part):
    findings = await run_part(target, part)

    assert findings.faults == []


async def test_what_nobody_handled_is_a_fault(target: FuzzTarget):
    async def fail(_target, _findings):
        structlog.get_logger().error("a request failed", action="web.failed", exc_info=ValueError("x"))
        logging.getLogger("asyncio").error("a task failed")

    findings = await run_part(target, fail)

    assert [fault.split()[1] for fault in findings.faults] == ["web.failed", "a"]


async def test_mutated_images_are_the_same_for_the_same_seed():
    first, again = (list(mutated_images(6, random.Random(7))) for _ in range(2))

    assert len(set(first)) > 4
    assert first == again
