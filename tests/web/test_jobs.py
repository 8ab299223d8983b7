"""Asking for jobs over REST, looking at them, cancelling them, looking back."""

import re

import httpx2
import pytest

from tests.web.api_client import ask, imagine, job_of, make, problem, upload, wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIELDS = {
    "id", "command", "options", "state", "position", "eta_s", "progress", "result", "error", "cost", "parent", "batch",
    "created_at", "started_at", "finished_at",
}  # fmt: skip


async def test_an_accepted_job_is_answered_with_where_it_is(client):
    answer = await client.post("/api/v1/jobs", json=imagine(seed=7))

    accepted = answer.json()
    assert answer.status_code == 202
    assert set(accepted) == {"id", "state", "position", "eta_s", "cost"}
    assert re.fullmatch("[a-z2-7]{16}", accepted["id"])
    assert answer.headers["location"] == f"/api/v1/jobs/{accepted['id']}"
    assert accepted["state"] == "queued"
    assert accepted["cost"] == 1.0


async def test_a_finished_job_has_every_field_of_the_contract(client):
    job = await make(client, imagine(seed=7, count=2))

    assert set(job) == FIELDS | {"images", "cancel_requested", "arrival"}
    assert job["state"] == "delivered"
    assert job["options"]["prompt"] == "a red circle"
    result = job["result"]
    assert set(result) == {"media", "text", "seed", "model", "revision", "seconds", "parameters", "notes"}
    assert (result["seed"], result["model"], result["revision"]) == (7, "paint", "test")
    assert len(result["media"]) == 2
    assert set(result["media"][0]) == {"id", "url", "media_type", "width", "height", "alt", "spoiler"}
    assert result["media"][0]["spoiler"] is False
    assert result["media"][0]["url"] == f"/api/v1/media/{result['media'][0]['id']}"
    assert result["media"][0]["alt"] == "It is a picture"  # as the model sees it that sees


async def test_a_question_about_an_upload_is_answered(client, a_picture):
    picture = await upload(client, a_picture)

    job = await make(client, {"command": "ask", "options": {"question": "What is it?"}, "images": [picture["id"]]})

    assert job["result"]["text"] == "It is What is it?"
    assert job["images"] == [{"id": picture["id"], "role": "init"}]


async def test_a_picture_is_described_in_several_lines(client, a_picture):
    photo = (await upload(client, a_picture))["id"]
    job = await make(client, {"command": "describe", "options": {"count": 3}, "images": [photo]})

    assert job["result"]["text"] == "prompt 1\nprompt 2\nprompt 3"


async def test_a_picture_is_refined_or_resized_and_the_result_says_which(client):
    first = (await make(client, imagine()))["result"]["media"][0]
    refined = await make(client, {"command": "upscale", "options": {}, "images": [first["id"]]})
    larger = refined["result"]["media"][0]
    resized = await make(client, {"command": "upscale", "options": {}, "images": [larger["id"]]})

    assert [job["options"]["method"] for job in (refined, resized)] == ["refine", "resize"]
    assert [first["width"], larger["width"], resized["result"]["media"][0]["width"]] == [64, 128, 256]
    assert "Only resized" in resized["result"]["notes"][0]
    assert refined["result"]["notes"] == []


async def test_a_picture_may_come_with_its_role(client, a_picture):
    picture = await upload(client, a_picture)

    job = await make(client, {**imagine(strength=0.5), "images": [{"id": picture["id"], "role": "init"}]})

    assert job["options"]["strength"] == 0.5
    assert job["options"]["width"] > job["options"]["height"]


async def test_a_job_is_found_by_a_unique_prefix(client):
    job_id = (await ask(client))["id"]

    assert (await job_of(client, job_id[:6]))["id"] == job_id


async def test_a_job_may_name_the_one_it_follows_from(client):
    first = await make(client)

    second = await make(client, {**imagine("and another"), "parent": first["id"]})

    assert second["parent"] == first["id"]


async def test_the_same_key_and_body_return_the_same_job(client):
    key = {"Idempotency-Key": "once-and-only-once"}

    first = await ask(client, imagine(), **key)
    second = await ask(client, imagine(), **key)

    assert first["id"] == second["id"]


async def test_the_same_key_with_another_body_is_a_conflict(client):
    key = {"Idempotency-Key": "once"}
    await ask(client, imagine("one"), **key)

    answer = await client.post("/api/v1/jobs", json=imagine("two"), headers=key)

    problem(answer, 409, "idempotency_conflict")


async def test_people_cannot_meet_each_others_idempotency_keys(server, client):
    keys = [await server.create_key("Ada"), await server.create_key("Bo")]

    ids = {
        (await ask(client, imagine(), **{"Idempotency-Key": "same", "Authorization": f"Bearer {key}"}))["id"]
        for key in keys
    }

    assert len(ids) == 2


@pytest.mark.parametrize("key", ["", "x" * 201, "with space", "t\tab", "\u00e9"])
async def test_an_odd_idempotency_key_is_refused(client, key):
    answer = await client.post("/api/v1/jobs", json=imagine(), headers={"Idempotency-Key": key.encode("latin-1")})

    assert problem(answer, 422, "invalid_option")["option"] == "Idempotency-Key"


async def test_combinations_need_a_quote_and_come_as_one_batch(client):
    body = imagine("a {red|green} {circle|square}")
    refused = await client.post("/api/v1/jobs", json=body)
    quote = (await client.post("/api/v1/quotes", json=body)).json()

    answer = await client.post("/api/v1/jobs", json={**body, "quote": quote["quote"]})

    assert problem(refused, 422, "invalid_option")["option"] == "quote"
    assert set(quote) == {"jobs", "cost", "eta_s", "quote"}
    assert (quote["jobs"], quote["cost"]) == (4, 4.0)
    accepted = answer.json()
    assert answer.status_code == 202
    assert accepted["id"] == accepted["jobs"][0]["id"]
    assert len(accepted["jobs"]) == 4
    jobs = [await wait_for(client, job["id"]) for job in accepted["jobs"]]
    assert {job["batch"] for job in jobs} == {accepted["batch"]}
    assert jobs[1]["options"]["prompt"] == "a red square"


async def test_a_quote_for_another_prompt_is_refused(client):
    quote = (await client.post("/api/v1/quotes", json=imagine("a {red|green} circle"))).json()["quote"]

    answer = await client.post("/api/v1/jobs", json={**imagine("a {red|blue} circle"), "quote": quote})

    assert problem(answer, 422, "invalid_option")["option"] == "quote"


# ---------------------------------------------------------------- cancelling


async def test_a_queued_job_is_cancelled_at_once(client):
    await ask(client, imagine("slow"))
    waiting = await ask(client)

    answer = await client.delete(f"/api/v1/jobs/{waiting['id']}")

    assert answer.status_code == 202
    job = answer.json()
    assert (job["state"], job["cancel_requested"]) == ("cancelled", True)
    assert job["error"] == {"code": "cancelled", "message": "Cancelled; you weren't charged.", "incident": None}


async def test_a_running_job_is_cancelled_at_its_next_step(client):
    job_id = (await ask(client, imagine("slow")))["id"]
    await wait_for(client, job_id, "running")

    answer = await client.delete(f"/api/v1/jobs/{job_id}")

    assert answer.json()["cancel_requested"] is True
    assert (await wait_for(client, job_id))["state"] == "cancelled"


async def test_what_is_done_cannot_be_cancelled(client):
    job = await make(client)

    answer = await client.delete(f"/api/v1/jobs/{job['id']}")

    assert problem(answer, 409, "not_cancellable")["state"] == "delivered"


# ---------------------------------------------------------------- history


async def test_history_is_newest_first_and_comes_in_pages(client):
    made = [(await make(client, imagine(f"number {number}")))["id"] for number in range(3)]

    first = (await client.get("/api/v1/jobs", params={"limit": 2})).json()
    second = (await client.get("/api/v1/jobs", params={"limit": 2, "before": first["next"]})).json()

    assert [job["id"] for job in first["jobs"] + second["jobs"]] == made[::-1]
    assert second["next"] is None


async def test_history_is_searched_by_prompts_and_answers(client, a_picture):
    fox = await make(client, imagine("a fox in the snow"))
    await make(client, imagine("a harbour"))
    picture = await upload(client, a_picture)
    asked = await make(client, {"command": "ask", "options": {"question": "Which animal?"}, "images": [picture["id"]]})

    by_prompt = (await client.get("/api/v1/jobs", params={"q": "fox snow"})).json()
    by_answer = (await client.get("/api/v1/jobs", params={"q": "It is Which"})).json()
    odd = await client.get("/api/v1/jobs", params={"q": "\"' OR * NEAR( \0"})

    assert [job["id"] for job in by_prompt["jobs"]] == [fox["id"]]
    assert [job["id"] for job in by_answer["jobs"]] == [asked["id"]]
    assert odd.status_code == 200


async def test_history_is_narrowed_to_a_state(client):
    done = await make(client)
    failed = await make(client, imagine("fail"))

    answer = (await client.get("/api/v1/jobs", params={"state": "failed"})).json()

    assert [job["id"] for job in answer["jobs"]] == [failed["id"]]
    assert done["id"] != failed["id"]


@pytest.mark.parametrize(
    ("query", "option"),
    [
        ({"state": "lost"}, "state"),
        ({"limit": "0"}, "limit"),
        ({"limit": "101"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"q": "x" * 201}, "q"),
        ({"before": "x" * 201}, "before"),
    ],
)
async def test_an_odd_search_is_refused_by_name(client, query, option):
    answer = await client.get("/api/v1/jobs", params=query)

    assert problem(answer, 422, "invalid_option")["option"] == option


# ---------------------------------------------------------------- what belongs to others


async def test_what_belongs_to_others_is_not_found(server, client, a_picture):
    ada, bo = [{"Authorization": f"Bearer {await server.create_key(name)}"} for name in ("Ada", "Bo")]
    picture = (await client.post("/api/v1/media", files={"file": a_picture}, headers=ada)).json()
    job = await ask(client, imagine("slow"), **ada)
    theirs = f"/api/v1/jobs/{job['id']}"

    answers = [
        await client.get(theirs, headers=bo),
        await client.get(f"{theirs}/events", headers=bo),
        await client.delete(theirs, headers=bo),
        await client.get(f"/api/v1/media/{picture['id']}", headers=bo),
        await client.post("/api/v1/jobs", json={"command": "caption", "images": [picture["id"]]}, headers=bo),
        await client.post("/api/v1/jobs", json={**imagine(), "parent": job["id"]}, headers=bo),
    ]

    for answer in answers:
        problem(answer, 404, "not_found")
    assert (await client.get("/api/v1/jobs", headers=bo)).json() == {"jobs": [], "next": None}
    assert (await client.get(theirs, headers=ada)).json()["state"] == "running"


async def test_the_daily_allowance_is_told_and_kept(server, client):
    ada = {"Authorization": f"Bearer {await server.create_key('Ada')}"}
    for number in range(5):
        await ask(client, imagine(f"number {number}"), **ada)

    refused = await client.post("/api/v1/jobs", json=imagine(), headers=ada)
    quota = (await client.get("/api/v1/quota", headers=ada)).json()

    assert int(refused.headers["retry-after"]) > 0
    assert problem(refused, 429, "quota_exceeded")["limit"] == 5.0
    assert set(quota) == {"limit", "used", "reserved", "unit", "resets_at"}
    assert (quota["limit"], quota["used"] + quota["reserved"], quota["unit"]) == (5.0, 5.0, "device-seconds")


async def test_the_local_person_has_no_limit(client):
    assert (await client.get("/api/v1/quota")).json()["limit"] is None


async def test_a_full_queue_says_when_to_come_back(client):
    for number in range(20):
        await ask(client, imagine(f"slow {number}"))

    answer = await client.post("/api/v1/jobs", json=imagine())

    assert int(answer.headers["retry-after"]) > 0
    problem(answer, 429, "queue_full")


async def test_a_closing_server_takes_nothing_more(server, client):
    server.usecases.jobs.is_closing = True

    answer = await client.post("/api/v1/jobs", json=imagine())

    assert answer.headers["retry-after"] == "15"
    problem(answer, 503, "shutting_down")


# ---------------------------------------------------------------- what can be asked


async def test_commands_tell_each_option_with_type_range_and_default(client):
    commands = {command["name"]: command for command in (await client.get("/api/v1/commands")).json()["commands"]}

    steps = next(option for option in commands["imagine"]["options"] if option["name"] == "steps")
    assert {"imagine", "caption", "ask"} <= set(commands)
    assert (steps["type"], steps["minimum"], steps["maximum"]) == ("integer", 1, 150)
    assert commands["ask"]["images"] == {"needed": 1, "allowed": 1, "roles": ["init"]}
    assert commands["edit"]["images"] == {"needed": 1, "allowed": 4, "roles": ["init", "reference"]}
    assert commands["imagine"]["models"] == ["paint", "demo"]


async def test_models_tell_their_own_ranges_and_defaults(client):
    models = {model["name"]: model for model in (await client.get("/api/v1/models")).json()["models"]}

    options = {option["name"]: option for option in models["paint"]["options"]}
    assert (options["steps"]["default"], options["steps"]["maximum"]) == (5, 50)
    assert options["sampler"]["choices"] == ["euler", "ddim"]
    assert models["paint"]["default_for"] == ["text-to-image", "image-to-image"]
    assert models["paint"]["max_images"] == 1
    assert models["demo"]["note"]
    assert not models["paint"]["note"]


async def test_openapi_describes_the_calls_and_their_bodies(client):
    api = (await client.get("/openapi.json")).json()

    assert api["openapi"].startswith("3.")
    assert {"/api/v1/media", "/api/v1/jobs", "/api/v1/jobs/{job_id}/events", "/api/v1/quota"} <= set(api["paths"])
    assert not [path for path in api["paths"] if path.startswith("/internal")]
    body = api["paths"]["/api/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body["$ref"].rpartition("/")[2] in api["components"]["schemas"]


async def test_the_answers_of_other_methods_keep_their_connection(client: httpx2.AsyncClient):
    """A refused body is read or the connection closed: the next request is not taken for its rest."""
    for _ in range(3):
        refused = await client.post("/api/v1/jobs", content=b"x" * 3000, headers={"content-type": "text/plain"})

        problem(refused, 415, "unsupported_media")
        assert (await client.get("/healthz")).status_code == 200
