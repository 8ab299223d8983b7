"""`/api/v1/link`: codes, previews, linking, the linked accounts, unlinking."""

import asyncio

import pytest
import pytest_asyncio

from bot.error_texts import explain
from bot.errors import NotFound
from tests.web.api_client import make
from tests.web.conftest import ServedEasel, open_client
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def keyed(server: ServedEasel):
    """A client with a key of Bob's."""
    key = await server.create_key("bob")
    async with open_client(server) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        yield client


async def discord_code(server: ServedEasel, account: str = "1") -> str:
    person = await server.usecases.people.identify_account("discord", account, f"Ann {account}")
    return (await server.usecases.links.create_code(person)).text


async def test_a_code_is_typed_in_a_chat_and_the_accounts_are_one(server, keyed):
    asked = await keyed.post("/api/v1/link", json={})
    ann = await server.usecases.people.identify_account("discord", "1", "Ann")
    await server.usecases.links.link(ann, "discord:1", asked.json()["code"])
    linked = (await keyed.get("/api/v1/link")).json()

    assert asked.status_code == 201
    assert asked.headers["cache-control"] == "no-store"
    assert set(asked.json()) == {"code", "expires_at"}
    assert linked == {
        "accounts": [
            {"platform": "discord", "name": "Ann", "account": "1"},
            {"platform": "web", "name": "bob", "account": "bob"},
        ]
    }


async def test_a_preview_links_nothing_and_a_code_alone_does(server, keyed):
    await make(keyed)
    code = await discord_code(server)
    preview = (await keyed.post("/api/v1/link", json={"code": code, "confirm": False})).json()
    before = (await keyed.get("/api/v1/link")).json()
    linked = await keyed.post("/api/v1/link", json={"code": code})

    assert preview["linked"] is False
    assert (preview["yours"]["jobs"], preview["yours"]["pictures"]) == (1, 1)
    assert preview["used"] == preview["yours"]["used"] > 0
    assert preview["limit"] == 5.0
    assert preview["other"]["accounts"] == [{"platform": "discord", "name": "Ann 1", "account": "1"}]
    assert len(before["accounts"]) == 1
    assert linked.status_code == 200
    assert linked.json() == {**preview, "linked": True}
    assert (await keyed.get("/api/v1/jobs")).json()["total"] == 1


@pytest.mark.parametrize(
    ("body", "status", "problem"),
    [
        ({"code": "0000-0000"}, 409, "wrong_code"),
        ({"code": "0000-0000", "confirm": False}, 409, "wrong_code"),
        ({"code": "hello"}, 409, "code_form"),
        ({"code": ""}, 409, "code_form"),
        ({"code": 7}, 422, None),
        ({"cod": "x"}, 422, None),
        ([], 422, None),
    ],
)
async def test_bad_codes_are_problems(keyed, body, status, problem):
    answer = await keyed.post("/api/v1/link", json=body)

    assert answer.status_code == status
    assert answer.json().get("problem") == problem
    assert answer.json()["detail"].endswith(".")


async def test_a_stream_from_before_linking_reads_everything_again(server, keyed):
    await make(keyed)
    home = await server.usecases.people.named_person("bob")
    before = await server.storage.changes.last_change(home.id)
    await keyed.post("/api/v1/link", json={"code": await discord_code(server)})
    now = await server.storage.changes.last_change(home.id)

    resumed = {}
    for number in (before - 1, now):
        follow = server.usecases.events.follow(home, number)
        resumed[number] = (await anext(follow)).is_resumed
        await follow.aclose()
    assert resumed == {before - 1: False, now: True}


async def test_after_ten_wrong_codes_the_key_has_to_wait(keyed):
    answers = [await keyed.post("/api/v1/link", json={"code": f"0000-{n:04d}"}) for n in range(11)]

    assert [one.status_code for one in answers] == [409] * 10 + [429]
    assert answers[-1].json()["code"] == "too_many_requests"
    assert 3000 < int(answers[-1].headers["retry-after"]) <= 3601


async def test_a_code_that_two_people_send_together_links_one(server, keyed):
    other = await server.create_key("carl")
    code = await discord_code(server)
    answers = await asyncio.gather(
        keyed.post("/api/v1/link", json={"code": code}),
        keyed.post("/api/v1/link", json={"code": code}, headers={"Authorization": f"Bearer {other}"}),
        keyed.post("/api/v1/link", json={"code": code}),
    )

    assert sorted(one.status_code for one in answers) == [200, 409, 409]


async def test_an_account_is_unlinked_and_starts_anew(server, keyed):
    await keyed.post("/api/v1/link", json={"code": await discord_code(server)})
    first = await server.usecases.people.identify_account("discord", "1", "Ann 1")
    gone = await keyed.delete("/api/v1/link/discord")
    again = await keyed.delete("/api/v1/link/discord")
    now = await server.usecases.people.identify_account("discord", "1", "Ann 1")

    assert gone.json() == {"accounts": [{"platform": "web", "name": "bob", "account": "bob"}]}
    assert (again.status_code, again.json()["problem"]) == (409, "not_linked")
    assert now.id != first.id


async def test_one_of_two_accounts_on_a_platform_is_unlinked(server, keyed):
    for account in ("1", "2"):
        await keyed.post("/api/v1/link", json={"code": await discord_code(server, account)})
    left = await keyed.delete("/api/v1/link/discord", params={"account": "1"})

    assert [one["name"] for one in left.json()["accounts"]] == ["Ann 2", "bob"]


async def test_a_key_stays_as_it_was_whoever_it_is_linked_with(server, keyed):
    local = await server.usecases.people.local_person()
    code = (await server.usecases.links.create_code(local)).text
    linked = await keyed.post("/api/v1/link", json={"code": code})

    assert linked.json()["limit"] is None
    assert (await keyed.get("/api/v1/me")).json()["admin"] is False
    assert (await keyed.get("/api/v1/admin/models")).status_code == 403


async def test_without_a_key_nobody_links_anything(server, keyed):
    async with open_client(server) as nobody:
        for answer in (
            await nobody.post("/api/v1/link", json={}),
            await nobody.get("/api/v1/link"),
            await nobody.delete("/api/v1/link/discord"),
        ):
            assert answer.status_code == 401


async def test_a_request_from_before_the_link_is_told_to_come_again(server, keyed):
    key = await server.create_key("carl")
    carl, _ = await server.usecases.people.authenticate(key)
    await make(keyed)
    code = (await keyed.post("/api/v1/link", json={})).json()["code"]
    await server.usecases.links.link(carl, "web:carl", code)

    for act in (
        lambda: server.usecases.collections.create(carl, "late"),
        lambda: server.usecases.media.upload(carl, picture(3, 48, 32), source="web"),
        lambda: server.usecases.people.forget_person(carl),
    ):
        with pytest.raises(NotFound) as refused:
            await act()
        assert explain(refused.value).endswith("send the request again.")
