"""Trainings over REST: who may, how they are followed, and what is refused."""

import asyncio

import pytest
import pytest_asyncio

from bot.errors import TrainingRefused
from tests.training_fixture import FORGETFUL, FakeTrainer
from tests.web.conftest import open_client

pytestmark = pytest.mark.asyncio(loop_scope="module")

ADMIN = "/api/v1/admin"
ROUTES = (
    ("POST", "/train", {"kind": "vision", "folder": "/pictures"}),
    ("GET", "/trainings", None),
    ("GET", "/trainings/glyphs", None),
    ("GET", "/trainings/glyphs/samples/1", None),
    ("DELETE", "/trainings/glyphs", None),
)


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "glyphs"
    path.mkdir()
    return path


@pytest_asyncio.fixture(loop_scope="module")
async def trainer(server):
    fake = FakeTrainer()
    server.usecases.trainings.trainer = fake
    return fake


async def start(client, folder, **more):
    return await client.post(f"{ADMIN}/train", json={"kind": "vision", "folder": str(folder), **more})


def is_over(body):
    return body["state"] != "running"


async def wait_for(client, is_there, name="glyphs"):
    async with asyncio.timeout(10):
        while True:
            body = (await client.get(f"{ADMIN}/trainings/{name}")).json()
            if is_there(body):
                return body
            await asyncio.sleep(0.01)


async def test_only_admins_train(server):
    await server.usecases.people.create_key("Olga", is_admin=True)
    key = await server.create_key("Ann")
    async with open_client(server) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        for method, path, body in ROUTES:
            answer = await client.request(method, f"{ADMIN}{path}", json=body)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path


async def test_a_training_is_followed_to_its_report_card(client, trainer, folder):
    trainer.go_on.clear()
    started = await start(client, folder, steps=10, seed=3)
    assert (started.status_code, started.json()["state"], started.json()["model"]) == (202, "running", "look")
    body = await wait_for(client, lambda body: len(body["losses"]) == 2)
    assert body["progress"] == {"stage": "training", "done": 2, "total": 4, "loss": 0.25}

    trainer.go_on.set()
    body = await wait_for(client, is_over)

    assert (body["state"], body["error"], body["is_switched_on"]) == ("done", "", True)
    assert (body["report"]["gain"], body["report"]["is_accepted"]) == (90.0, True)
    listed = (await client.get(f"{ADMIN}/trainings")).json()
    assert [(one["name"], one["state"]) for one in listed["adapters"]] == [("glyphs", "accepted")]
    assert listed["adapters"][0]["report"]["examples"][0]["after"] == "a lynx"
    assert (trainer.requests[0].steps, trainer.requests[0].seed) == (10, 3)


async def test_one_that_failed_its_test_says_so_and_stays_off(client, trainer, folder):
    trainer.report = FORGETFUL
    await start(client, folder)

    body = await wait_for(client, is_over)

    assert (body["state"], body["is_switched_on"], body["report"]["is_accepted"]) == ("done", False, False)
    adapters = (await client.get(f"{ADMIN}/trainings")).json()["adapters"]
    assert [one["state"] for one in adapters] == ["rejected"]


async def test_what_went_wrong_is_a_sentence(client, trainer, folder):
    trainer.error = TrainingRefused("disk_full")
    await start(client, folder)

    body = await wait_for(client, is_over)

    assert (body["state"], body["report"]) == ("failed", None)
    assert body["error"].startswith("The disk is full.")


async def test_a_training_is_cancelled_once(client, trainer, folder):
    trainer.go_on.clear()
    await start(client, folder)

    cancelled = await client.delete(f"{ADMIN}/trainings/glyphs")
    again = await client.delete(f"{ADMIN}/trainings/glyphs")

    assert (cancelled.status_code, cancelled.json()["state"]) == (200, "failed")
    assert (again.status_code, again.json()["code"]) == (409, "training_refused")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"kind": "video"}, 422, "invalid_option"),
        ({"kind": "vision"}, 409, "training_refused"),
        ({"kind": "vision", "folder": "pictures"}, 409, "training_refused"),
        ({"kind": "vision", "folder": "/does/not/exist"}, 409, "training_refused"),
        ({"kind": "vision", "folder": "/tmp", "model": "paint"}, 409, "training_refused"),
        ({"kind": "vision", "folder": "/tmp", "model": "nobody"}, 409, "model_refused"),
        ({"kind": "vision", "folder": "/tmp", "steps": -1}, 422, "invalid_option"),
        ({"kind": "vision", "folder": "/tmp", "speed": 1}, 422, "invalid_option"),
        ({"kind": "vision", "folder": "/tmp", "name": "../etc"}, 409, "training_refused"),
    ],
)
async def test_bad_orders_are_refused_in_a_sentence(client, trainer, body, status, code):
    answer = await client.post(f"{ADMIN}/train", json=body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["detail"]
    assert trainer.requests == []


async def test_a_training_that_does_not_exist_is_not_found(client, trainer):
    for path in ("trainings/nobody", "trainings/nobody/samples/1"):
        answer = await client.get(f"{ADMIN}/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
