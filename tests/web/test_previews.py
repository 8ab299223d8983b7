"""The whole path of `preview` over REST: a map of a photo, and the map as a ready control."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageDraw

from tests.web.api_client import ask, imagine, make, problem, upload, wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture
def client(shared_client):
    return shared_client


@pytest.fixture
def a_photo():
    photo = Image.new("RGB", (60, 60), "royalblue")
    ImageDraw.Draw(photo).ellipse((10, 10, 50, 50), fill="firebrick")
    out = io.BytesIO()
    photo.save(out, "PNG")
    return out.getvalue()


def preview(picture, **options):
    return {"command": "preview", "options": options, "images": [picture]}


async def test_a_map_of_a_photo_is_shown_and_then_controls_a_picture(client, a_photo):
    photo = (await upload(client, a_photo))["id"]
    before = (await client.get("/api/v1/quota")).json()["used"]

    shown = await make(client, preview(photo, kind="canny"))

    (made,) = shown["result"]["media"]
    assert (shown["state"], shown["options"]["what"], shown["options"]["kind"]) == ("delivered", "control", "canny")
    assert made["alt"] == "A canny map of the picture"
    assert (await client.get("/api/v1/quota")).json()["used"] - before < 1
    file = Image.open(io.BytesIO((await client.get(made["url"])).content))
    file.load()
    levels = np.asarray(file.convert("L"))
    assert (file.width, file.height) == (made["width"], made["height"]) == (64, 64)
    assert {0, 255} == set(np.unique(levels))
    assert not {"parameters", "easel"} & set(file.info)
    control = {"id": made["id"], "role": "control", "kind": "canny", "ready": True}
    drawn = await make(client, {**imagine(), "images": [control]})
    assert drawn["state"] == "delivered"
    assert (drawn["options"]["width"], drawn["options"]["height"]) == (64, 64)


async def test_a_photo_as_control_is_mapped_before_it_reaches_the_engine(client, a_photo, shared_server, monkeypatch):
    seen, run_task = [], shared_server.pool.run_task

    def run(task):
        seen.append(task)
        return run_task(task)

    monkeypatch.setattr(shared_server.pool, "run_task", run)
    photo = (await upload(client, a_photo))["id"]
    job = await make(client, {**imagine(), "images": [{"id": photo, "role": "control", "kind": "canny"}]})

    (control,) = next(task for task in seen if task.id == job["id"]).images
    assert control.is_ready
    assert Image.open(io.BytesIO(control.media.data)).size == (64, 64)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"kind": "depth"}, "give a ready depth map instead"),
        ({"region": "the sky"}, "paint a mask instead"),
        ({}, "Say what to preview"),
    ],
)
async def test_what_cannot_be_previewed_is_refused_and_free(client, a_photo, options, sentence):
    photo = (await upload(client, a_photo))["id"]
    before = (await client.get("/api/v1/quota")).json()

    answer = problem(await client.post("/api/v1/jobs", json=preview(photo, **options)), 422, "invalid_option")

    assert sentence in answer["detail"]
    assert (await client.get("/api/v1/quota")).json() == before


async def test_a_ready_map_of_another_shape_is_refused(client, a_photo):
    photo = (await upload(client, a_photo))["id"]
    control = {"id": photo, "role": "control", "kind": "canny", "ready": True}
    body = {**imagine(width=64, height=96), "images": [control]}

    answer = problem(await client.post("/api/v1/jobs", json=body), 422, "invalid_option")

    assert answer["detail"].endswith("but the picture is to be 64x96: leave the size out, or use another map.")


@pytest.mark.parametrize("scores", [(0.1, 0.9), (0.9, 0.1), (None, None)])
async def test_a_map_is_checked_like_any_image(client, a_photo, shared_server, monkeypatch, scores):
    """Photo and map are scored; a sexual one, or one that could not be checked, is not shown."""
    run_task = shared_server.pool.run_task

    async def run(task):
        async for event in run_task(task):
            yield replace(event, scores=scores) if getattr(event, "scores", ()) else event

    moderation = shared_server.usecases.moderation
    monkeypatch.setattr(moderation, "settings", replace(moderation.settings, local_policy="block"))
    monkeypatch.setattr(shared_server.pool, "run_task", run)
    photo = (await upload(client, a_photo))["id"]

    job = await wait_for(client, (await ask(client, preview(photo, kind="scribble")))["id"])

    assert (job["state"], job["error"]["code"]) == ("failed", "blocked")
