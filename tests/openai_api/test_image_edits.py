"""`/v1/images/edits` and `/v1/images/variations`: forms, masks, and which command they become."""

import io
from dataclasses import replace

import pytest
from PIL import Image

from bot.models import IMAGE_TEXT_TO_IMAGE, ModelSpec
from tests.openai_api.openai_bodies import EDITS, VARIATIONS, data_url, error_of, images_of, mask
from tests.web.conftest import MODELS
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
EDITOR = ModelSpec(name="editor", tasks=(IMAGE_TEXT_TO_IMAGE,), repo="editor", width=64, height=64, max_images=3)


@pytest.fixture
def editor(shared_server):
    """A model that edits by instruction."""
    models = shared_server.usecases.models
    models.add_model(EDITOR)
    shared_server.pool.set_models([*models])
    yield
    models.remove_model(EDITOR.name)
    shared_server.pool.set_models([*models])


def photo(seed=3, size=(48, 32)):
    return (f"{seed}.png", picture(seed, *size))


def drawn(tasks):
    """The task that draws, with the role of each of its images."""
    task = next(task for task in tasks if task.answers == "images")
    return task, [image.role for image in task.images]


async def test_an_edit_without_a_model_that_edits_redraws_the_image(client, tasks):
    (image,) = await images_of(client, EDITS, data={"prompt": "a blue circle"}, files={"image": photo()})
    task, roles = drawn(tasks)

    assert (task.command, roles, task.options["strength"]) == ("imagine", ["init"], MODELS[0].strength)
    assert image.width > image.height, "it has the shape of the photo"


async def test_a_model_that_edits_gets_the_image_and_its_references(client, tasks, editor):
    files = [("image[]", photo(1)), ("image[]", photo(2))]
    await images_of(client, EDITS, data={"prompt": "make it blue", "size": "64x64"}, files=files)
    task, roles = drawn(tasks)

    assert (task.command, task.model.name, roles) == ("edit", "editor", ["init", "reference"])


async def test_the_transparent_part_of_a_mask_is_repainted(client, tasks):
    """OpenAI's mask is the other way round, and its colours mean nothing."""
    files = {"image": photo(), "mask": ("mask.png", mask(clear_left=True))}
    await images_of(client, EDITS, data={"prompt": "a blue circle", "n": "2"}, files=files)
    task, roles = drawn(tasks)
    given = Image.open(io.BytesIO(task.images[1].media.data)).convert("L")

    assert roles == ["init", "mask"]
    assert [given.getpixel((5, 5)), given.getpixel((40, 5))] == [255, 0]
    assert task.options["count"] == 2


async def test_a_mask_without_a_transparent_part_is_refused(client):
    files = {"image": photo(), "mask": ("mask.png", mask(clear_left=False))}
    answer = await client.post(EDITS, data={"prompt": "a blue circle"}, files=files)

    error = error_of(answer, 400, "invalid_value")
    assert (error["param"], error["message"][:35]) == ("mask", "The mask has no transparent part: s")


@pytest.mark.parametrize(("model", "roles"), [("dall-e-2", ["init", "mask"]), ("gpt-image-1", ["init"])])
async def test_for_dall_e_2_the_images_own_transparent_part_is_the_mask(client, tasks, model, roles):
    data = {"prompt": "a blue circle", "model": model}
    await images_of(client, EDITS, data=data, files={"image": ("photo.png", mask(clear_left=True))})

    assert drawn(tasks)[1] == roles


async def test_a_variation_has_the_words_of_a_caption(client, tasks):
    (image,) = await images_of(client, VARIATIONS, data={"n": "1"}, files={"image": photo()})
    task, roles = drawn(tasks)

    assert (tasks[0].command, roles) == ("caption", ["init"])
    assert (task.options["prompt"], task.options["strength"]) == ("It is a picture", 0.5)
    assert image.format == "PNG"


async def test_a_variation_of_a_drawn_image_has_the_prompt_that_is_in_its_file(
    client, tasks, shared_server, monkeypatch
):
    sanitize = shared_server.usecases.media.pictures.sanitize

    async def with_prompt(data, *, owner=""):
        parameters = {"command": "imagine", "options": {"prompt": "a known fox"}}
        return replace(await sanitize(data, owner=owner), parameters=parameters)

    monkeypatch.setattr(shared_server.usecases.media.pictures, "sanitize", with_prompt)
    await images_of(client, VARIATIONS, files={"image": photo(9)})

    assert drawn(tasks)[0].options["prompt"] == "a known fox"


async def test_an_image_may_be_a_data_url_or_one_of_ones_own(client, tasks):
    generated = await client.post("/v1/images/generations", json={"prompt": "a fox", "response_format": "url"})
    url = generated.json()["data"][0]["url"]
    for source in (data_url(), url, url.partition("?")[0].rpartition("/")[2]):
        await images_of(client, EDITS, files={"prompt": (None, "a circle"), "image": (None, source)})

    assert sum(task.command == "imagine" for task in tasks) == 4


@pytest.mark.parametrize(
    ("request_parts", "param"),
    [
        ({"data": {"prompt": "x"}, "files": {"other": photo()}}, "image"),
        ({"files": {"image": photo()}}, "prompt"),
        ({"files": {"image": (None, "https://example.org/cat.png"), "prompt": (None, "x")}}, "image"),
        ({"files": {"image": (None, "data:image/png;base64,%%%"), "prompt": (None, "x")}}, "image"),
        ({"data": {"prompt": "x"}, "files": {"image": photo(), "user": photo()}}, "user"),
        ({"json": {"prompt": "x"}}, "body"),
    ],
    ids=["no image", "no prompt", "a foreign URL", "damaged base64", "a file as a text", "no form"],
)
async def test_a_form_that_lacks_something_says_what(client, request_parts, param):
    answer = await client.post(EDITS, **request_parts)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_a_file_that_is_no_image_is_refused(client):
    answer = await client.post(EDITS, data={"prompt": "x"}, files={"image": ("a.png", b"words")})

    assert "not a picture" in error_of(answer, 400, "invalid_image")["message"]


async def test_an_edit_streams_under_its_own_name(client):
    data = {"prompt": "a blue circle", "stream": "true", "partial_images": "1"}
    answer = await client.post(EDITS, data=data, files={"image": photo()})

    assert "event: image_edit.completed" in answer.text


@pytest.mark.parametrize(
    ("fields", "files", "words"),
    [
        ({"prompt": "x"}, 13, "at most 12 files and 60 fields"),
        ({f"field{number}": "x" for number in range(61)}, 1, "at most 12 files and 60 fields"),
        ({"prompt": "x", "mask": "data:image/png;base64," + "A" * 70_000}, 1, "send images as files"),
    ],
    ids=["files", "fields", "large field"],
)
async def test_a_form_beyond_a_limit_says_which(client, fields, files, words):
    images = [("image[]", ("a.png", picture(3, 48, 32)))] * files
    error = error_of(await client.post(EDITS, data=fields, files=images), 400, "invalid_value")

    assert words in error["message"]
