"""Requests become jobs, with and without what a command does not need."""

import pytest

from bot.errors import InvalidOption
from tests.bot.usecases.test_jobs import ANN, Harness, make_request, upload


@pytest.fixture
def harness():
    return Harness()


@pytest.mark.parametrize(("command", "options"), [("zoom", {"factor": 2}), ("pan", {}), ("square", {})])
async def test_what_is_painted_around_a_picture_needs_no_prompt(harness, command, options):
    picture = await upload(harness)

    (ticket,) = await harness.jobs.submit(ANN, make_request(command=command, options=options, images=(picture,)))

    assert (ticket.job.command, ticket.job.options["prompt"]) == (command, "")


async def test_combinations_of_a_prompt_make_several_canvases(harness):
    picture = await upload(harness)
    options = {"prompt": "a {red|blue} fox"}

    tickets = await harness.jobs.submit(
        ANN, make_request(command="square", options=options, images=(picture,), is_confirmed=True)
    )

    assert [ticket.job.options["prompt"] for ticket in tickets] == ["a red fox", "a blue fox"]


@pytest.mark.parametrize("prompt", ["", "  ", "{|}"])
async def test_imagine_still_needs_a_prompt(harness, prompt):
    with pytest.raises(InvalidOption):
        await harness.jobs.submit(ANN, make_request(prompt, is_confirmed=True))
