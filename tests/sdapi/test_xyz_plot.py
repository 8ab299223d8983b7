"""The script "x/y/z plot": a grid with its sheets first."""

import pytest

from tests.sdapi.sd_client import PICTURE, draw, jobs_of, refusal

pytestmark = pytest.mark.asyncio(loop_scope="module")
NOTHING = [0, "", []]


@pytest.fixture
def client(shared_client):
    return shared_client


def plot(*axes, legend=True, pictures=True):
    """The arguments of the script for up to three axes."""
    given = [part for axis in (*axes, *[NOTHING] * (3 - len(axes))) for part in axis]
    arguments = [*given, legend, pictures, False, False, False, False, False, 0, False]
    return {"script_name": "X/Y/Z plot", "script_args": arguments, "width": 64, "height": 64}


async def test_a_plot_is_a_labelled_sheet_and_its_pictures(client):
    pictures, info = await draw(client, **plot([4, "2,3", []], [6, "1-3 (+2)", []]), seed=7)

    jobs = await jobs_of(client, info)
    assert info["index_of_first_image"] == 1
    assert [image.size for image in pictures[1:]] == [(64, 64)] * 4
    assert pictures[0].width > 128
    assert [(job["options"]["steps"], job["options"]["guidance_scale"]) for job in jobs] == [
        (2, 1),
        (3, 1),
        (2, 3),
        (3, 3),
    ]
    assert info["all_seeds"] == [7] * 5
    assert len({job["batch"] for job in jobs}) == 1


async def test_a_plot_without_its_pictures_is_the_sheet_alone(client):
    pictures, info = await draw(client, **plot(["Steps", "2,3", []], pictures=False))

    assert len(pictures) == len(info["infotexts"]) == info["index_of_first_image"] == 1


@pytest.mark.parametrize(
    ("axis", "option", "values"),
    [
        ([1, "5,6", []], "seed", [5, 6]),
        ([9, "", ["Euler", "DDIM"]], "sampler", ["euler", "ddim"]),
        ([7, "circle,square", []], "prompt", ["a red circle", "a red square"]),
        ([10, "", ["paint", "demo.safetensors"]], "model", ["paint", "demo"]),
        ([11, "demo, paint", []], "model", ["demo", "paint"]),
        (["[Param] Clip skip", "1,2", []], "clip_skip", [1, 2]),
        (["Styles", "ink", []], None, None),
    ],
)
async def test_an_axis_is_found_by_its_number_or_name(client, axis, option, values):
    _, info = await draw(client, **plot(axis))

    if option:
        assert [job["options"].get(option) for job in await jobs_of(client, info)] == values


async def test_a_plot_may_start_from_an_image(client):
    fields = plot([5, "2,3", []], ["Denoising", "0.3,0.6", []])
    _, info = await draw(client, "img2img", init_images=[PICTURE], **fields)

    jobs = await jobs_of(client, info)
    assert [job["options"]["strength"] for job in jobs] == [0.3, 0.3, 0.6, 0.6]
    assert {image["role"] for job in jobs for image in job["images"]} == {"init"}


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (plot(), "name an axis"),
        (plot([8, "a,b", []]), "script_args cannot be 8"),
        (plot(["VAE", "a,b", []]), "script_args cannot be VAE"),
        (plot([4, "", []]), "script_args needs a value"),
        (plot([4, "many", []]), "many"),
        (plot([4, "2,3", []], [4, "2,3", []]), "steps"),
        (plot([10, "no-such", []]), "script_args cannot be no-such"),
        (plot([1, "1-99", []], [4, "1-9", []]), "891 cells"),
        ({"script_name": "sd upscale"}, "script_name cannot be sd upscale"),
    ],
)
async def test_a_plot_that_cannot_be_is_told(client, fields, sentence):
    answer = await client.post("/sdapi/v1/txt2img", json={"prompt": "a red circle", **fields})

    assert sentence in refusal(answer, 422)
