"""Controls, references and masks in a REST body."""

import json

import pytest

from tests.web.api_client import imagine, make, problem, upload
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")

JSON = {"Content-Type": "application/json"}
UNKNOWN_ID = "0" * 64
PNG_OF_BOB = picture(77, 16, 16)


@pytest.fixture
def client(shared_client):
    return shared_client


async def test_a_job_repeats_what_was_said_about_its_images(client, a_picture):
    picture = (await upload(client, a_picture))["id"]
    control = {"id": picture, "role": "control", "kind": "canny", "weight": 0.8, "end": 0.5, "ready": True}
    style = {"id": picture, "role": "reference", "kind": "style"}

    job = await make(client, {**imagine(), "images": [control, style]})

    assert job["images"] == [
        {**control, "start": 0},
        {**style, "weight": 1, "start": 0, "end": 1, "ready": False},
    ]
    assert job["options"]["width"] > job["options"]["height"]
    assert "strength" not in job["options"]


async def test_a_picture_grows_over_rest(client, a_picture):
    picture = (await upload(client, a_picture))["id"]

    job = await make(client, {"command": "zoom", "options": {"factor": 2}, "images": [picture]})

    assert (job["command"], job["options"]["factor"]) == ("zoom", 2)
    assert [image["role"] for image in job["images"]] == ["init"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"factor": 9}, "factor is 9"), ({"factor": "nan"}, "factor is nan"), ({"direction": "left"}, "direction")],
)
async def test_a_zoom_that_cannot_be_is_refused_over_rest(client, a_picture, options, sentence):
    picture = (await upload(client, a_picture))["id"]

    answer = await client.post("/api/v1/jobs", json={"command": "zoom", "options": options, "images": [picture]})

    assert problem(answer, 422, "invalid_option")
    assert sentence in answer.json()["detail"]


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        ('{"role": "control"}', "Say what kind of control the picture is: canny, lineart, "),
        ('{"role": "control", "kind": "cany"}', "Did you mean canny?"),
        ('{"role": "control", "kind": 1}', "kind is invalid: "),
        ('{"role": "control", "kind": "canny", "weight": NaN}', "weight is nan, but must be 0 to 2."),
        ('{"role": "control", "kind": "canny", "weight": 1e400}', "weight is inf, but must be 0 to 2."),
        ('{"role": "control", "kind": "canny", "weight": 1%s}' % ("0" * 400), "weight is "),
        ('{"role": "control", "kind": "canny", "weight": "abc"}', "weight is invalid: "),
        ('{"role": "control", "kind": "canny", "weight": null}', "weight is invalid: "),
        ('{"role": "control", "kind": "canny", "weight": -1}', "weight is -1, but must be 0 to 2."),
        ('{"role": "control", "kind": "canny", "start": 0.5, "end": 0.5}', "A control that starts at 0.5 must end "),
        ('{"role": "init", "kind": "canny"}', "has no kind: leave it out."),
        ('{"role": "control", "kind": "canny", "wieght": 1}', "Did you mean weight?"),
        ('{"role": "reference", "kind": "style", "ready": true}', "has no ready: leave it out."),
    ],
)
@pytest.mark.parametrize("path", ["jobs", "quotes"])
async def test_what_cannot_be_is_one_sentence_and_costs_nothing(client, image, sentence, path):
    before = (await client.get("/api/v1/quota")).json()
    body = json.dumps({**imagine(), "images": ["IMAGE"]}).replace(
        '"IMAGE"', image.replace("{", f'{{"id": "{UNKNOWN_ID}", ')
    )

    answer = problem(await client.post(f"/api/v1/{path}", content=body, headers=JSON), 422, "invalid_option")

    assert sentence in answer["detail"]
    assert answer["detail"].endswith(".")
    assert (await client.get("/api/v1/quota")).json() == before


@pytest.mark.parametrize("role", ["control", "reference", "mask", "init"])
async def test_a_picture_of_somebody_else_is_not_found_in_any_role(client, role, shared_server, a_picture):
    usecases = shared_server.usecases
    bob = await usecases.people.identify_account("discord", "77", "Bob")
    theirs = (await usecases.media.upload(bob, PNG_OF_BOB, source="discord")).id
    kind = {"kind": "canny"} if role == "control" else {}
    images = [{"id": theirs, "role": role, **kind}]
    if role == "mask":
        images.insert(0, {"id": (await upload(client, a_picture))["id"], "role": "init"})

    problem(await client.post("/api/v1/jobs", json={**imagine(), "images": images}), 404, "not_found")


async def test_commands_say_which_images_they_take(client):
    commands = {one["name"]: one for one in (await client.get("/api/v1/commands")).json()["commands"]}
    imagine_images = commands["imagine"]["images"]

    assert imagine_images["limits"] == {"init": 1, "mask": 1, "control": 3, "reference": 4}
    assert imagine_images["kinds"]["control"] == ["canny", "lineart", "scribble", "depth", "pose", "tile"]
    assert imagine_images["kinds"]["reference"] == ["style", "subject"]
    assert commands["caption"]["images"]["limits"] == {"init": 1}


async def test_openapi_describes_the_images_of_a_request(client):
    schemas = (await client.get("/openapi.json")).json()["components"]["schemas"]

    assert set(schemas["ImageBody"]["properties"]) == {"id", "role", "kind", "weight", "start", "end", "ready"}
    assert schemas["ImageBody"]["required"] == ["id"]
