"""Who may use `/v1`, and errors in OpenAI's form: keys, quota, limits, other paths, and what goes wrong inside."""

import pytest

from bot.errors import QueueFull, ShuttingDown, StorageBusy, StorageFull
from bot.usecases import JobUseCases
from tests.openai_api.openai_bodies import CHAT, GENERATIONS, chat, data_url, error_of, user
from tests.web.api_client import parsed
from tests.web.conftest import SECRET, open_client

pytestmark = pytest.mark.asyncio(loop_scope="module")
MODELS = "/v1/models"
BODY = {"prompt": "a red circle"}
FORMER_KEY = "0123abcd." + "x" * 43


async def test_models_that_can_be_used_are_listed(client):
    listed = (await client.get(MODELS)).json()
    one = (await client.get(f"{MODELS}/paint")).json()

    assert [model["id"] for model in listed["data"]] == ["paint", "look", "demo"]
    assert one == listed["data"][0]


@pytest.mark.parametrize("name", ["gpt-4o", "gpt-image-1", "dall-e-3", "chatgpt-4o-latest", "o4-mini", "GPT-5"])
async def test_openais_own_names_mean_the_default_model(client, name):
    assert (await client.get(f"{MODELS}/{name}")).json()["id"] == name
    assert (await client.post(CHAT, json=chat(user("x", data_url()), model=name))).json()["model"] == "look"


async def test_a_name_that_is_no_text_is_answered_like_any_unknown_name(client):
    content = '{"prompt": "x", "model": "\\ud800"}'

    error_of(await client.post(GENERATIONS, content=content), 404, "model_not_found")
    error_of(await client.post(GENERATIONS, json={"prompt": "x", "model": ["paint"]}), 404, "model_not_found")


@pytest.mark.parametrize("name", ["org/unknown", "painter", "ollama"])
async def test_an_unknown_model_is_not_found(client, name):
    answers = [
        await client.get(f"{MODELS}/{name}"),
        await client.post(GENERATIONS, json={**BODY, "model": name}),
        await client.post(CHAT, json=chat(user(), model=name)),
    ]

    for answer in answers:
        error = error_of(answer, 404, "model_not_found")
        assert error["param"] == "model"
        assert "paint, look, demo" in error["message"]


@pytest.mark.parametrize("key", ["Bearer none", "Bearer sk-proj-1", "Bearer", f"Bearer {SECRET}"])
async def test_while_no_key_exists_any_key_is_accepted_on_this_machine(client, key):
    assert (await client.get(MODELS, headers={"Authorization": key})).status_code == 200


async def test_a_key_of_ours_that_does_not_exist_is_refused_even_then(client):
    error_of(await client.get(MODELS, headers={"Authorization": f"Bearer {FORMER_KEY}"}), 401, "invalid_api_key")


@pytest.mark.parametrize(
    "header",
    [{"Host": "evil.example"}, {"Origin": "https://evil.example"}, {"X-Forwarded-For": "1.2.3.4"}],
    ids=lambda header: next(iter(header)),
)
async def test_some_key_opens_nothing_to_other_websites_or_through_proxies(client, header):
    error_of(await client.post(GENERATIONS, json=BODY, headers=header), 401, "invalid_api_key")


async def test_once_a_key_exists_only_keys_are_accepted(server):
    key = await server.create_key("Ada")
    async with open_client(server) as client:
        for text in ("Bearer sk-none", "Bearer", f"Basic {key}", f"Bearer {key}x"):
            answer = await client.get(MODELS, headers={"Authorization": text})
            error_of(answer, 401, "invalid_api_key")
            assert answer.headers["www-authenticate"].startswith("Bearer")
        error_of(await client.get(MODELS), 401, "invalid_api_key")
        accepted = await client.get(MODELS, headers={"Authorization": f"Bearer {key}"})

    assert accepted.status_code == 200


async def test_a_session_of_the_page_is_not_accepted(server):
    key = await server.create_key("Ada")
    async with open_client(server) as client:
        await client.post("/api/v1/session", json={"key": key}, headers={"X-Easel": "1"})
        cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
        answer = await client.get(MODELS, headers={"Cookie": cookies, "X-Easel": "1"})

    assert cookies
    error_of(answer, 401, "invalid_api_key")


async def test_the_first_key_ends_the_streams_of_callers_who_needed_none(server):
    body = {"prompt": "a slow circle", "stream": True}
    async with open_client(server) as client:
        headers = {"Authorization": "Bearer sk-none"}
        async with client.stream("POST", GENERATIONS, json=body, headers=headers) as stream:
            await server.create_key("Ada")
            events = [event async for event in parsed(stream)]

    assert events[-1]["data"]["error"]["code"] == "invalid_api_key"


async def test_a_spent_quota_is_not_tried_again(server):
    key = await server.create_key("Ada")
    async with open_client(server) as client:
        body = {**BODY, "n": 4, "steps": 50}
        answer = await client.post(GENERATIONS, json=body, headers={"Authorization": f"Bearer {key}"})

    error = error_of(answer, 429, "insufficient_quota")
    assert error["type"] == "insufficient_quota"
    assert answer.headers["x-should-retry"] == "false"


async def test_too_many_requests_with_one_key_are_refused_in_this_form(easel):
    await easel.serve(max_requests_per_key=1)
    key = {"Authorization": f"Bearer {await easel.create_key('Ada')}"}
    async with (
        open_client(easel) as client,
        client.stream("POST", GENERATIONS, json={"prompt": "a slow circle", "stream": True}, headers=key),
    ):
        answer = await client.get(MODELS, headers=key)

    error_of(answer, 429, "rate_limit_exceeded")
    assert answer.headers["retry-after-ms"] == "2000"


@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        (QueueFull(limit=20, retry_after_s=7), 429, "rate_limit_exceeded", "true"),
        (StorageBusy(7), 503, "storage_busy", "true"),
        (ShuttingDown(7), 503, "shutting_down", "true"),
        (StorageFull(), 503, "storage_full", "false"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
async def test_a_refusal_says_whether_and_when_to_try_again(client, monkeypatch, error, status, code, retry):
    async def refuse(*_args, **_more):
        raise error

    monkeypatch.setattr(JobUseCases, "submit", refuse)
    answer = await client.post(GENERATIONS, json=BODY)

    error_of(answer, status, code)
    assert answer.headers["x-should-retry"] == retry
    assert answer.headers.get("retry-after-ms") == ("7000" if retry == "true" else None)


async def test_what_goes_wrong_inside_shows_nothing_but_an_incident(client, monkeypatch):
    async def fail(*_args, **_more):
        raise KeyError("the secret inner reason")

    monkeypatch.setattr(JobUseCases, "submit", fail)
    answer = await client.post(GENERATIONS, json=BODY)

    error = error_of(answer, 500, "internal")
    assert "secret" not in answer.text
    assert "code" in error["message"]


async def test_a_job_that_fails_is_not_tried_again(client):
    answer = await client.post(GENERATIONS, json={"prompt": "fail"})

    assert "secret" not in error_of(answer, 500, "engine_failed")["message"]
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/moderations", 404),
        ("POST", "/v1/audio/speech", 404),
        ("GET", "/v1/files", 404),
        ("POST", "/v1/completions", 404),
        ("GET", "/v1/images/generations", 405),
        ("DELETE", "/v1/responses/resp_aaaaaaaaaaaaaaaa", 405),
    ],
)
async def test_a_path_that_is_not_there_names_those_that_are(client, method, path, status):
    error = error_of(await client.request(method, path), status, "unknown_url")

    assert f"Easel does not have {method} {path}. It has GET /v1/models" in error["message"]


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{", b"\xff", b"[" * 100_000], ids=["none", "list", "half", "bytes", "deep"]
)
async def test_a_body_that_is_no_json_object_is_refused(client, content):
    for path in (GENERATIONS, CHAT, "/v1/responses", "/v1/embeddings"):
        answer = await client.post(path, content=content, headers={"Content-Type": "application/json"})
        error_of(answer, 400, "invalid_value")


async def test_a_slash_at_the_end_lists_the_models(client):
    assert (await client.get("/v1/models/")).json() == (await client.get("/v1/models")).json()


async def test_an_empty_authorization_counts_as_none(client):
    """Programs in which nobody entered a key send one."""
    assert (await client.get("/v1/models", headers={"Authorization": ""})).status_code == 200


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n": True}, "n is true, but must be a whole number."),
        ({"size": "1000000x1000000"}, "Each side must be 64 to 128 pixels; you asked for 1000000x1000000."),
    ],
)
async def test_a_refusal_says_what_was_sent(client, fields, message):
    answer = await client.post(GENERATIONS, json={"prompt": "a fox", **fields})

    assert error_of(answer, 400, "invalid_value")["message"] == message


async def test_a_chat_has_one_choice(client):
    body = {"messages": [{"role": "user", "content": "hello"}], "n": 2}
    error = error_of(await client.post(CHAT, json=body), 400, "invalid_value")

    assert error["message"] == "n is 2, but must be 1."


@pytest.mark.parametrize(
    ("content", "words"),
    [(b'{"seed": ' + b"9" * 5000 + b"}", "too many digits"), (b'{"a":' * 1900 + b"1" + b"}" * 1900, "too deeply")],
    ids=["digits", "deep"],
)
async def test_json_that_is_not_read_says_why(client, content, words):
    assert words in error_of(await client.post(GENERATIONS, content=content), 400, "invalid_value")["message"]


async def test_a_body_that_is_too_large_is_refused(client):
    answer = await client.post(GENERATIONS, content=b" " * (17 * 2**20))

    error_of(answer, 413, "too_large")


async def test_requests_are_counted_by_endpoint(client):
    await client.get(f"{MODELS}/paint")
    metrics = (await client.get("/metrics", headers={"Authorization": f"Bearer {SECRET}"})).text

    assert 'route="/v1/models/{model:path}",status="200"' in metrics
