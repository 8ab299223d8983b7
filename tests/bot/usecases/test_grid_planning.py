"""What cells of grids ask for, what they cost, and which of them are refused."""

from dataclasses import replace

import pytest

from bot.commands import Grid
from bot.error_texts import explain
from bot.errors import InvalidOption
from bot.jobs import ImageRef
from bot.models import IMAGE_TEXT_TO_IMAGE, ModelRegistry
from bot.ports import PromptAddon
from bot.prompts.resolver import PromptResolver
from bot.usecases.grid_cells import list_cells
from tests.bot.usecases.test_jobs import ANN, Harness, make_request, upload
from tests.fakes import make_model


@pytest.fixture
def harness():
    harness = Harness()
    ink = PromptAddon(name="ink", kind="lora", path="ink", family="", size=1)
    harness.wording = PromptResolver(list_addons=lambda: [ink])
    harness.jobs = harness.build()
    return harness


def ask(images=(), **options):
    return make_request(command="grid", options={"prompt": "a red fox", **options}, images=tuple(images))


async def submit(harness, request):
    tickets = await harness.jobs.submit(ANN, replace(request, is_confirmed=True))
    return [ticket.job for ticket in tickets]


async def refusal(harness, request):
    with pytest.raises(InvalidOption) as refused:
        await submit(harness, request)
    assert not harness.store.jobs
    return explain(refused.value)


async def test_x_changes_fastest_then_y_then_z(harness):
    jobs = await submit(harness, ask(x="steps=2,3", y="guidance=1,5", z="count=1,2"))
    values = [tuple(job.options[name] for name in ("steps", "guidance_scale", "count")) for job in jobs]

    assert values[:5] == [(2, 1.0, 1), (3, 1.0, 1), (2, 5.0, 1), (3, 5.0, 1), (2, 1.0, 2)]
    assert len({job.batch for job in jobs}) == 1


async def test_all_cells_have_one_drawn_seed_also_of_variations_unless_it_is_an_axis(harness):
    drawn = await submit(harness, ask(x="steps=2,3", variation_strength=0.2))
    given = await submit(harness, ask(x="seed=7,9"))

    assert len({(job.options["seed"], job.options["variation_seed"]) for job in drawn}) == 1
    assert [job.options["seed"] for job in given] == [7, 9]


async def test_the_first_value_of_a_prompt_axis_is_replaced_wherever_it_is(harness):
    jobs = await submit(harness, ask(prompt="a red fox, red", x='prompt=red,dark blue,""'))

    assert [job.options["prompt"] for job in jobs] == ["a red fox, red", "a dark blue fox, dark blue", "a fox,"]


async def test_a_lora_is_weighed_where_its_tag_is_or_at_the_end_and_left_out_at_0(harness):
    added = await submit(harness, ask(x="lora:ink=0,0.5"))
    there = await submit(harness, ask(prompt="a <lora:Ink:1> fox", x="lora:ink=0,0.5"))

    assert [job.options["prompt"] for job in added] == ["a red fox", "a red fox <lora:ink:0.5>"]
    assert [job.options["prompt"] for job in there] == ["a fox", "a <lora:ink:0.5> fox"]


def test_a_control_of_the_kind_is_weighed_and_left_out_at_0():
    canny, depth = (ImageRef(kind, role="control", kind=kind) for kind in ("canny", "depth"))
    axes = Grid.from_options({"prompt": "a", "x": "control:depth=0,0.5"}).axes

    first, second = list_cells(axes, {"prompt": "a"}, (canny, depth))

    assert first.images == (canny,)
    assert second.images == (canny, replace(depth, weight=0.5))


async def test_a_value_that_one_of_several_models_cannot_do_is_named_with_the_model(harness):
    models = {name: make_model(name=name, max_steps=most) for name, most in (("able", 50), ("quick", 8))}
    harness.models = ModelRegistry(models)
    harness.jobs = harness.build()

    sentence = await refusal(harness, ask(x="steps=4,20", y="model=able,quick"))

    assert sentence == "x, steps=20, model=quick: steps is 20, but must be 1 to 8."


async def test_a_refusal_that_concerns_no_axis_names_none(harness):
    assert (await refusal(harness, ask(x="guidance=1,5", strength=0.5))).startswith("strength only works")
    assert (await refusal(harness, ask(x="guidance=1,5", style="none"))).startswith("No styles are defined")
    assert (await refusal(harness, ask(x="steps=1,5", prompt="a <lora:none> fox"))).startswith("There is no LoRA")


async def test_a_value_that_only_another_one_makes_impossible_is_named_with_it(harness):
    harness.models = ModelRegistry({"fox": make_model(name="fox", max_size=512, width=512, height=512)})
    harness.jobs = harness.build()

    sentence = await refusal(harness, ask(x="width=64,512", hires=2.0, height=64))

    assert sentence.startswith("x, width=512: ")


async def test_several_images_or_an_image_guidance_make_cells_edits(harness):
    harness.models = ModelRegistry({"editor": make_model(name="editor", tasks=(IMAGE_TEXT_TO_IMAGE,), max_images=4)})
    harness.jobs = harness.build()
    images = [await upload(harness, data=data) for data in (b"1", b"2")]
    both = await submit(harness, ask(images, x="guidance=1,5"))
    guided = await submit(harness, ask(images[:1], x="image_guidance=1,2"))

    assert {job.command for job in (*both, *guided)} == {"edit"}
    assert [job.options["image_guidance_scale"] for job in guided] == [1.0, 2.0]


async def test_a_grid_in_a_chat_asks_for_its_confirmation_with_the_price(harness):
    request = replace(ask(x="steps=5,10"), wants_delivery=True)

    with pytest.raises(InvalidOption) as unconfirmed:
        await harness.jobs.submit(ANN, request)

    assert explain(unconfirmed.value).startswith("This makes 2 pictures and uses 15 device-seconds.")


async def test_a_grid_of_one_cell_needs_no_confirmation(harness):
    [ticket] = await harness.jobs.submit(ANN, ask(x="steps=5"))

    assert (ticket.job.options["steps"], ticket.job.batch is None) == (5, False)


async def test_more_cells_than_a_person_may_have_jobs_are_refused(harness):
    assert await refusal(harness, ask(x="seed=1-51")) == "The grid has 51 cells; the limit is 50. Use fewer values."


async def test_a_quoted_price_is_shared_by_what_each_cell_costs(harness):
    request = ask(x="steps=5,15")
    quote = await harness.jobs.quote(ANN, request)
    jobs = [ticket.job for ticket in await harness.jobs.submit(ANN, request, quote=quote.quote)]

    assert [job.cost / quote.cost for job in jobs] == pytest.approx([0.25, 0.75], abs=0.01)


@pytest.mark.parametrize(
    "line", ["a red fox --x steps=2,3 --y guidance=1,5", "--x steps=2,3 --y guidance=1,5 --prompt a red fox"]
)
async def test_a_typed_grid_is_the_same_as_its_options(harness, line):
    typed = await submit(harness, replace(ask(), options={}, line=line))

    assert [(job.options["steps"], job.options["guidance_scale"]) for job in typed] == [(2, 1), (3, 1), (2, 5), (3, 5)]
