"""Models that chat, over REST: questions about several images, threads, answers that stream, and richer prompts."""

from dataclasses import replace

import pytest

from bot.models import IMAGE_TEXT_TO_TEXT
from tests.web.api_client import ask, events_of, imagine, make, parsed, problem, upload
from tests.web.conftest import MODELS, open_client
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")
LOOK = MODELS[1]


@pytest.fixture
def client(shared_client):
    return shared_client


@pytest.fixture
def tasks(shared_server, monkeypatch):
    """Those that were run."""
    seen, run_task = [], shared_server.pool.run_task

    def run(task):
        seen.append(task)
        return run_task(task)

    monkeypatch.setattr(shared_server.pool, "run_task", run)
    return seen


@pytest.fixture
def sees_several(shared_server):
    """The model sees four images together."""
    models = shared_server.usecases.models
    models.add_model(replace(LOOK, tasks=(IMAGE_TEXT_TO_TEXT, *LOOK.tasks), max_images=4))
    yield
    models.add_model(LOOK)


def question(text, *images, **more):
    return {"command": "ask", "options": {"question": text}, "images": list(images), **more}


async def upload_photos(client, count):
    return [(await upload(client, picture(seed, 32, 32)))["id"] for seed in range(count)]


async def test_a_question_about_several_images_is_one_job_of_a_model_that_sees_them(client, tasks, sees_several):
    photos = await upload_photos(client, 3)

    job = await make(client, question("which?", *photos))

    assert (job["state"], job["result"]["text"]) == ("delivered", "It is which?")
    assert [image["id"] for image in job["images"]] == photos
    assert len(tasks[-1].images) == 3


async def test_a_model_that_sees_one_image_refuses_several_in_one_sentence(client):
    answer = await client.post("/api/v1/jobs", json=question("which?", *await upload_photos(client, 2)))

    detail = problem(answer, 422, "invalid_option")["detail"]
    assert detail == "The model “look” sees one picture at a time: ask about each of them alone."


async def test_a_question_that_names_its_parent_has_its_images_and_its_thread(client, tasks, sees_several):
    photos = await upload_photos(client, 2)
    first = await make(client, question("what?", *photos))

    second = await make(client, question("and why?", parent=first["id"][:8]))

    assert (second["parent"], [image["id"] for image in second["images"]]) == (first["id"], photos)
    assert tasks[-1].options["thread"] == [{"question": "what?", "answer": "It is what?"}]
    assert "thread" not in second["options"]
    await client.delete(f"/api/v1/jobs/{first['id']}?erase=true")
    third = await make(client, question("really?", parent=second["id"]))
    assert tasks[-1].options["thread"] == [{"question": "and why?", "answer": "It is and why?"}]
    assert third["state"] == "delivered"


async def test_a_question_cannot_follow_up_on_what_belongs_to_somebody_else(server):
    async with open_client(server) as own:
        (photo,) = await upload_photos(own, 1)
        first = await make(own, question("what?", photo))
        key = {"Authorization": f"Bearer {await server.create_key('Bo')}"}

        answer = await own.post("/api/v1/jobs", json=question("and why?", parent=first["id"]), headers=key)

    problem(answer, 404, "not_found")


async def test_an_answer_streams_as_a_whole_that_grows_and_is_replaced_by_the_result(client, shared_server):
    (photo,) = await upload_photos(client, 1)
    shared_server.pool.go_on.clear()
    job_id = (await ask(client, question("slow it is", photo)))["id"]

    async with client.stream("GET", f"/api/v1/jobs/{job_id}/events") as stream:
        async for event in parsed(stream):
            if event["name"] == "progress" and event["data"]["step"] == 2:
                break
    polled = (await client.get(f"/api/v1/jobs/{job_id}")).json()
    shared_server.pool.go_on.set()
    events = await events_of(client, job_id)

    assert (event["data"]["text"], event["data"]["preview"]) == ("It is", None)
    assert polled["progress"]["text"] == "It is"
    assert (events[-1]["name"], events[-1]["data"]["result"]["text"]) == ("result", "It is slow it is")
    assert events[-1]["data"]["progress"] is None


async def test_a_richer_prompt_is_shown_and_repeated_from_the_persons_own_words(client, tasks, sees_several):
    job = await make(client, imagine("a fox", enhance=True, count=2, seed=3))

    richer = next(task.options["prompt"] for task in tasks if task.command == "imagine")
    assert (job["options"]["prompt"], job["options"]["enhance"]) == ("a fox", True)
    assert richer.startswith("It is Rewrite this prompt")
    assert job["result"]["notes"][0] == f"The richer prompt: {richer}"
    recipe = (await client.get(f"/api/v1/jobs/{job['id']}/recipe")).json()
    assert (recipe["all"]["prompt"], recipe["all"]["enhance"]) == ("a fox", True)


async def test_a_richer_prompt_needs_a_model_that_chats(client):
    answer = await client.post("/api/v1/jobs", json=imagine("a fox", enhance=True))

    assert "No installed model can make prompts richer" in problem(answer, 422, "invalid_option")["detail"]
