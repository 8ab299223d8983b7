"""Who may use AUTOMATIC1111's API: HTTP Basic with a key as password, bearer keys, and the local person without any."""

import asyncio

import pytest

from tests.sdapi.sd_client import basic, get, post, refusal, until_running
from tests.web.conftest import open_client

pytestmark = pytest.mark.asyncio(loop_scope="module")
OPTIONS = "/sdapi/v1/options"


async def test_any_name_with_a_key_as_password_and_a_bearer_key_are_its_person(keyed_server, keyed):
    client, key = keyed, await keyed_server.create_key("Ann")
    by_password, by_bearer = basic("whoever", key), {"Authorization": f"Bearer {key}"}

    await post(client, "options", {"sd_model_checkpoint": "demo"}, **by_password)
    assert (await get(client, "options", **by_bearer))["sd_model_checkpoint"] == "demo"
    assert (await client.get("/controlnet/version", headers=by_password)).json() == {"version": 2}


@pytest.mark.parametrize(
    "header",
    [{}, basic("ann", "wrong"), basic("", ""), {"Authorization": "Basic %%%"}, {"Authorization": "Digest x"}],
)
async def test_a_server_with_keys_wants_one(keyed, header):
    answer = await keyed.get(OPTIONS, headers=header)

    assert refusal(answer, 401)
    assert answer.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    "header", ["", "Basic", "Basic undefined", "basic null", basic("", "")["Authorization"],
               basic("undefined", "undefined")["Authorization"]]
)  # fmt: skip
async def test_an_empty_header_counts_as_none_where_no_key_is_needed(shared_client, header):
    assert (await get(shared_client, "options", Authorization=header))["sd_model_checkpoint"] == "paint"


async def test_a_wrong_password_is_refused_where_no_key_is_needed_as_well(shared_client):
    assert refusal(await shared_client.get(OPTIONS, headers=basic("ann", "wrong")), 401)


async def test_basic_is_accepted_below_these_paths_alone(keyed, new_caller):
    header = await new_caller()

    assert [(await keyed.get(path, headers=header)).status_code for path in ("/api/v1/quota", OPTIONS)] == [401, 200]


@pytest.mark.parametrize(
    "header", [{"Host": "easel.example"}, {"Origin": "http://evil.example"}, {"X-Forwarded-For": "1.2.3.4"}]
)
async def test_other_websites_and_proxies_are_refused_without_a_key(shared_client, header):
    assert refusal(await shared_client.get(OPTIONS, headers=header), 401)


async def test_calls_with_basic_count_for_the_limit_of_their_key(easel):
    await easel.serve(max_requests_per_key=1)
    async with open_client(easel) as client:
        key = await easel.create_key("Ann")
        await get(client, "options", **basic("ann", key))  # it is known from here on
        drawing = asyncio.create_task(_draw_slowly(client, key))
        async with asyncio.timeout(20):
            while not easel.pool.watched:  # noqa: ASYNC110
                await asyncio.sleep(0.02)

        answers = [
            await client.get(OPTIONS, headers=basic("other name", key)),
            await client.get("/api/v1/quota", headers={"Authorization": f"Bearer {key}"}),
        ]
        easel.pool.go_on.set()
        await drawing

    assert "Too many requests" in refusal(answers[0], 429)
    assert (answers[0].headers["retry-after"], answers[1].status_code) == ("2", 429)


async def _draw_slowly(client, key):
    return await post(client, "txt2img", {"prompt": "slow"}, **basic("ann", key))


async def test_a_revoked_key_ends_its_calls(keyed_server, keyed):
    client, key = keyed, await keyed_server.create_key("Ann")
    drawing = asyncio.create_task(client.post("/sdapi/v1/txt2img", json={"prompt": "slow"}, headers=basic("a", key)))
    await until_running(client, **basic("a", key))

    await keyed_server.usecases.people.revoke_key(key.partition(".")[0])

    assert refusal(await drawing, 401)


# ---------------------------------------------------------------- the selected model


async def test_the_selected_model_is_its_persons_alone_and_used_by_their_calls(keyed, new_caller):
    client, ann, ben = keyed, await new_caller(), await new_caller()

    everything = await get(client, "options", **ann)
    await post(client, "options", {**everything, "sd_model_checkpoint": "demo"}, **ann)

    assert [(await get(client, "options", **one))["sd_model_checkpoint"] for one in (ann, ben)] == ["demo", "paint"]
    made = await post(client, "txt2img", {"prompt": "a fox"}, **ann)
    assert '"sd_model_name": "demo"' in made["info"]
    assert '"sd_model_name": "paint"' in (await post(client, "txt2img", {"prompt": "a fox"}, **ben))["info"]


async def test_an_override_that_is_not_restored_selects_its_model(keyed, new_caller):
    client, ann = keyed, await new_caller()
    body = {"prompt": "a fox", "override_settings": {"sd_model_checkpoint": "demo"}}

    await post(client, "txt2img", body, **ann)
    assert (await get(client, "options", **ann))["sd_model_checkpoint"] == "paint"
    await post(client, "txt2img", {**body, "override_settings_restore_afterwards": False}, **ann)
    assert (await get(client, "options", **ann))["sd_model_checkpoint"] == "demo"


async def test_a_model_that_is_none_cannot_be_selected(shared_client):
    answers = [
        await shared_client.post(OPTIONS, json={"sd_model_checkpoint": title}) for title in ("look", "x" * 5000, 7)
    ]

    for answer in answers:
        assert refusal(answer, 422)
    assert (await shared_client.post(OPTIONS, json={"samples_format": "jpg"})).json() is None


async def test_only_admins_unload_models(keyed_server, keyed, new_caller):
    client, ann = keyed, await new_caller()
    _, admin = await keyed_server.usecases.people.create_key("Ada", is_admin=True)

    assert refusal(await client.post("/sdapi/v1/unload-checkpoint", headers=ann), 403)
    assert await post(client, "unload-checkpoint", **basic("x", admin)) == {}
    assert await post(client, "reload-checkpoint", **basic("x", admin)) == {}
    assert await post(client, "refresh-checkpoints", **ann) == {}
    assert (await get(client, "memory", **ann))["ram"] == {"error": "unavailable"}
    assert (await get(client, "memory", **basic("x", admin)))["ram"]["total"] > 0
