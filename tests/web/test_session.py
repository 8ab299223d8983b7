"""Sessions of the page: a cookie that stands for a key, on `/api/v1` only, and ends with it."""

import asyncio
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie

import pytest
import pytest_asyncio
from sqlalchemy import select, update

from adapters.web.session_cookie import COOKIE, HOST_COOKIE
from bot.usecases.sessions import LIFETIME, MAX_PER_KEY, hash_token
from storage.picture_tables import session
from tests.fakes import eventually
from tests.web.api_client import ask, events_of, imagine, problem
from tests.web.conftest import SECRET, open_client

pytestmark = pytest.mark.asyncio(loop_scope="module")

SESSION, QUOTA, JOBS = "/api/v1/session", "/api/v1/quota", "/api/v1/jobs"
WRITES = {"X-Easel": "1"}


def cookie_of(answer):
    """The one cookie that the response sets."""
    [header] = answer.headers.get_list("set-cookie")
    [morsel] = SimpleCookie(header).values()
    return morsel


def as_cookie(token, name=COOKIE):
    return {"Cookie": f"{name}={token}"}


async def sign_in(client, key, **headers):
    """The new session's token."""
    answer = await client.post(SESSION, json={"key": key}, headers=headers)
    client.cookies.clear()  # tests show cookies themselves
    assert answer.status_code == 201, answer.text
    return cookie_of(answer).value


async def stored(server, key):
    """The sessions of a key."""
    of_key = select(session).where(session.c.key == key.partition(".")[0])
    return await server.storage.sessions._database.run_read(lambda tx: tx.execute(of_key).all())


@pytest.fixture
def server(shared_server):
    return shared_server


@pytest.fixture
def client(shared_client):
    return shared_client


@pytest_asyncio.fixture(loop_scope="module")
async def key(server):
    return await server.create_key("Ann")


@pytest_asyncio.fixture(loop_scope="module")
async def token(client, key):
    return await sign_in(client, key)


async def test_a_key_is_exchanged_for_a_cookie_that_scripts_cannot_read(server, client, key):
    answer = await client.post(SESSION, json={"key": f" {key}\n"})
    cookie = cookie_of(answer)

    assert answer.json() == {"person": "Ann", "is_admin": False, "via": "session"}
    assert answer.headers["cache-control"] == "no-store"
    assert (cookie.key, cookie["path"], cookie["samesite"]) == (COOKIE, "/api/v1", "strict")
    assert (cookie["httponly"], cookie["secure"], cookie["domain"]) == (True, "", "")
    assert int(cookie["max-age"]) > LIFETIME.total_seconds()  # the server decides
    assert key.partition(".")[2] not in answer.text + cookie.value
    [row] = await stored(server, key)
    assert (row.token_hash, row.key) == (hash_token(cookie.value), key.partition(".")[0])


@pytest.mark.parametrize(
    "headers", [{"X-Forwarded-Proto": "https"}, {"Origin": "https://easel.example", "Host": "easel.example"}]
)
async def test_over_https_the_cookie_is_for_https_and_this_host_alone(client, key, headers):
    cookie = cookie_of(await client.post(SESSION, json={"key": key}, headers=headers))
    client.cookies.clear()

    assert (cookie.key, cookie["path"], cookie["secure"], cookie["domain"]) == (HOST_COOKIE, "/", True, "")
    nothing: dict[str, str] = {}
    for further in (nothing, headers):  # a browser names no origin when it only reads
        renewed = await client.get(SESSION, headers={**as_cookie(cookie.value, HOST_COOKIE), **further})
        client.cookies.clear()
        assert (cookie_of(renewed).key, cookie_of(renewed)["secure"]) == (HOST_COOKIE, True)
    planted = {**as_cookie(cookie.value), **headers}
    problem(await client.get(QUOTA, headers=planted), 401, "unauthorized")
    ended = await client.delete(SESSION, headers={**as_cookie(cookie.value, HOST_COOKIE), **WRITES})
    assert (cookie_of(ended).key, cookie_of(ended)["max-age"], cookie_of(ended)["secure"]) == (HOST_COOKIE, "0", True)


async def test_the_page_uses_the_cookie_for_all_of_its_api(server, client, token):
    shown = as_cookie(token)
    job = await ask(client, imagine(), **shown, **WRITES)

    names = [
        (await client.get(path, headers=shown)).status_code
        for path in (QUOTA, JOBS, f"{JOBS}/{job['id']}", "/api/v1/models", "/api/v1/commands", "/api/v1/me")
    ]
    assert set(names) == {200}
    assert (await events_of(client, job["id"], **shown))[-1]["name"] == "result"


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/internal/keys", "/v1/models", "/sdapi/v1/options", "/mcp"])
async def test_elsewhere_the_cookie_is_nothing(server, client, path):
    _, admins = await server.usecases.people.create_key("Root", is_admin=True)
    token = await sign_in(client, admins)

    shown = await client.get(path, headers={**as_cookie(token), "X-Forwarded-For": "1.2.3.4"})
    bare = await client.get(path, headers={"X-Forwarded-For": "1.2.3.4"})

    assert (shown.status_code, shown.content) == (bare.status_code, bare.content)
    assert shown.status_code in (401, 404) or not shown.content


@pytest.mark.parametrize("headers", [{}, {"X-Easel": "0"}, {"X-Easel": ""}, {"X-Requested-With": "1"}])
@pytest.mark.parametrize(
    ("method", "path"), [("POST", JOBS), ("DELETE", f"{JOBS}/aaaaaaaaaaaaaaaa"), ("DELETE", SESSION)]
)
async def test_what_changes_something_needs_the_pages_header(server, client, token, method, path, headers):
    answer = await client.request(method, path, json=imagine(), headers={**as_cookie(token), **headers})

    assert "X-Easel: 1" in problem(answer, 403, "blocked")["detail"]
    assert (await client.get(QUOTA, headers=as_cookie(token))).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
async def test_other_sites_can_neither_sign_in_nor_write(server, client, key, token, headers):
    signed_in = await client.post(SESSION, json={"key": key}, headers=headers)
    written = await client.post(JOBS, json=imagine(), headers={**as_cookie(token), **WRITES, **headers})

    problem(signed_in, 403, "blocked")
    problem(written, 403, "blocked")
    assert "set-cookie" not in signed_in.headers
    assert len(await stored(server, key)) == 1


async def test_a_form_of_another_site_cannot_sign_in(client, key):
    answer = await client.post(SESSION, content=f'{{"key": "{key}"}}', headers={"Content-Type": "text/plain"})

    problem(answer, 415, "unsupported_media")


@pytest.mark.parametrize(
    "wrong", ["", "x", "deadbeef.nope", SECRET, "0" * 200, "\u00e9.\u00e9", "{prefix}.", "{prefix}.x", "{prefix}"]
)
async def test_a_wrong_key_is_refused_in_the_pages_words(server, client, key, wrong):
    text = wrong.format(prefix=key.partition(".")[0])

    answer = await client.post(SESSION, json={"key": text})

    refused = problem(answer, 401, "unauthorized")
    assert "not a valid API key" in refused["detail"]
    assert "Authorization" not in refused["detail"]
    assert "set-cookie" not in answer.headers
    assert await stored(server, key) == []


@pytest.mark.parametrize(
    "body", [{}, {"key": 5}, {"key": None}, {"key": "x" * 201}, {"key": "x", "admin": True}, {"key": []}]
)
async def test_a_wrong_body_is_refused(client, key, body):
    problem(await client.post(SESSION, json=body), 422, "invalid_option")


async def test_strangers_cannot_send_much(client, key):
    answer = await client.post(SESSION, json={"key": "x", "more": ["x"] * 2000})

    assert "2 KiB" in problem(answer, 413, "too_large")["detail"]


@pytest.mark.parametrize("value", ["", "x", "a" * 101, "é", '"; drop', "..", "%00"])
async def test_a_made_up_cookie_is_no_session(client, key, value):
    answer = await client.get(QUOTA, headers={"Cookie": f"{COOKIE}={value}".encode()})

    problem(answer, 401, "unauthorized")


@pytest.mark.parametrize("headers", [WRITES, {"Sec-Fetch-Site": "same-origin"}])
async def test_people_on_the_page_are_told_to_sign_in_and_programs_to_send_a_key(client, key, headers):
    person, program = await client.get(QUOTA, headers=headers), await client.get(QUOTA)

    assert "Sign in" in problem(person, 401, "unauthorized")["detail"]
    assert "Authorization: Bearer" in problem(program, 401, "unauthorized")["detail"]


async def test_the_schema_names_the_cookie_beside_the_key(client):
    schema = (await client.get("/openapi.json")).json()

    cookie = schema["components"]["securitySchemes"]["session"]
    assert (cookie["in"], cookie["name"]) == ("cookie", COOKIE)
    assert set(schema["paths"][SESSION]) == {"get", "post", "delete"}
    assert "security" not in schema["paths"][SESSION]["post"]
    assert schema["paths"][QUOTA]["get"]["security"] == [{"key": []}, {"session": []}]
    assert schema["components"]["schemas"]["SessionBody"]["required"] == ["key"]
    [width] = [one for one in schema["paths"]["/api/v1/media/{media_id}"]["get"]["parameters"] if one["name"] == "w"]
    assert (width["required"], width["schema"]) == (False, {"type": "integer", "enum": [256, 512, 1024]})


async def test_signing_out_ends_the_session_and_its_streams_alone(server, client, key, token):
    other = await sign_in(client, key)
    job = await ask(client, imagine("slow"), **as_cookie(token), **WRITES)
    streams = [asyncio.create_task(events_of(client, job["id"], **as_cookie(one))) for one in (token, other)]
    access = server.usecases.people.access
    await eventually(lambda: len(access._open.get(key.partition(".")[0], ())) == 2)

    answer = await client.delete(SESSION, headers={**as_cookie(token), **WRITES})
    async with asyncio.timeout(30):
        await streams[0]

    assert (answer.status_code, cookie_of(answer)["max-age"]) == (204, "0")
    refused = problem(await client.get(QUOTA, headers=as_cookie(token)), 401, "unauthorized")
    assert "Sign in again" in refused["detail"]
    assert not streams[1].done()
    assert (await client.get(QUOTA, headers=as_cookie(other))).status_code == 200
    await revoke(server, key)
    async with asyncio.timeout(30):
        await streams[1]
    server.pool.go_on.set()
    assert not {"result", "error"} & {event["name"] for stream in streams for event in stream.result()}


async def revoke(server, key):
    await server.usecases.people.revoke_key(key.partition(".")[0])


async def forget(server, key):
    await server.usecases.people.forget_person((await server.usecases.people.authenticate(key))[0])


@pytest.mark.parametrize("end", [revoke, forget])
async def test_a_session_ends_with_its_key_or_person_and_not_with_others(server, client, key, token, end):
    bens = await sign_in(client, await server.create_key("Ben"))
    await end(server, key)

    problem(await client.get(QUOTA, headers=as_cookie(token)), 401, "unauthorized")
    problem(await client.post(SESSION, json={"key": key}), 401, "unauthorized")
    assert (await client.get(SESSION, headers=as_cookie(bens))).json()["person"] == "Ben"
    assert await stored(server, key) == []


async def set_expiry(server, token, expires_at):
    change = update(session).where(session.c.token_hash == hash_token(token)).values(expires_at=expires_at)
    await server.storage.sessions._database.run_write(lambda tx: tx.execute(change).rowcount)


async def test_use_renews_it_and_thirty_days_without_end_it(server, client, key, token):
    now = datetime.now(UTC)
    await set_expiry(server, token, now + timedelta(minutes=1))
    renewed = await client.get(SESSION, headers=as_cookie(token))
    async with asyncio.timeout(30):
        while (await stored(server, key))[0].expires_at < now + LIFETIME - timedelta(minutes=1):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    assert cookie_of(renewed).value == token
    await set_expiry(server, token, now - timedelta(seconds=1))
    problem(await client.get(SESSION, headers=as_cookie(token)), 401, "unauthorized")
    await sign_in(client, key)
    assert len(await stored(server, key)) == 1  # what expired is gone


async def test_signing_in_again_replaces_the_session_and_takes_no_token_from_the_browser(server, client, key, token):
    again = await sign_in(client, key, **as_cookie(token))
    planted = await sign_in(client, key, **as_cookie("planted-by-somebody-else"))

    assert len({token, again, planted, "planted-by-somebody-else"}) == 4
    problem(await client.get(QUOTA, headers=as_cookie(token)), 401, "unauthorized")
    problem(await client.get(QUOTA, headers=as_cookie("planted-by-somebody-else")), 401, "unauthorized")
    assert len(await stored(server, key)) == 2


async def test_a_wrong_key_leaves_the_present_session_alone(client, token):
    problem(await client.post(SESSION, json={"key": "x.y"}, headers=as_cookie(token)), 401, "unauthorized")

    assert (await client.get(QUOTA, headers=as_cookie(token))).status_code == 200


async def test_a_key_has_only_so_many_sessions(server, client, key, token):
    with server.usecases.people.access.watch(hash_token(token)) as ended:
        for _ in range(MAX_PER_KEY):
            latest = await sign_in(client, key)

    assert ended.is_set()
    assert len(await stored(server, key)) == MAX_PER_KEY
    problem(await client.get(QUOTA, headers=as_cookie(token)), 401, "unauthorized")
    assert (await client.get(QUOTA, headers=as_cookie(latest))).status_code == 200


async def test_two_sessions_of_one_key_see_the_same_and_other_keys_nothing_of_it(server, client, key, token):
    job = await ask(client, imagine(), **as_cookie(token), **WRITES)
    same, other = await sign_in(client, key), await sign_in(client, await server.create_key("Ben"))

    assert (await client.get(f"{JOBS}/{job['id']}", headers=as_cookie(same))).status_code == 200
    problem(await client.get(f"{JOBS}/{job['id']}", headers=as_cookie(other)), 404, "not_found")


async def test_a_key_in_the_header_counts_before_the_cookie(server, client, token):
    bens = {"Authorization": f"Bearer {await server.create_key('Ben')}"}

    both = await client.get(SESSION, headers={**as_cookie(token), **bens})
    wrong = await client.get(SESSION, headers={**as_cookie(token), "Authorization": "Bearer x.y"})
    written = await client.post(JOBS, json=imagine(), headers={**as_cookie(token), **bens})

    assert both.json() == {"person": "Ben", "is_admin": False, "via": "key"}
    assert "set-cookie" not in both.headers
    problem(wrong, 401, "unauthorized")
    assert written.status_code == 202


async def test_an_admins_session_is_an_admins(server, client, token):
    _, admins = await server.usecases.people.create_key("Root", is_admin=True)
    roots = await sign_in(client, admins)

    assert (await client.get("/api/v1/admin/models", headers=as_cookie(roots))).status_code == 200
    problem(await client.get("/api/v1/admin/models", headers=as_cookie(token)), 403, "forbidden")


async def test_without_keys_the_local_person_needs_no_session(easel):
    await easel.serve()
    async with open_client(easel) as client:
        answers = [await client.get(SESSION), await client.get(SESSION, headers=as_cookie("from-before"))]
        written = await client.post(JOBS, json=imagine(), headers={**as_cookie("from-before"), **WRITES})
        ended = await client.delete(SESSION)
        foreign = await client.get(SESSION, headers={"Origin": "http://evil.example"})

    assert [answer.json() for answer in answers] == [{"person": "local", "is_admin": True, "via": "local"}] * 2
    assert (written.status_code, ended.status_code) == (202, 204)
    problem(foreign, 401, "unauthorized")


async def test_the_sessions_of_a_key_share_its_limit_of_requests(easel):
    await easel.serve(max_requests_per_key=2)
    async with open_client(easel) as client:
        key = await easel.create_key("Ann")
        tokens = [await sign_in(client, key) for _ in range(3)]
        for one in tokens:  # each is known from here on
            assert (await client.get(QUOTA, headers=as_cookie(one))).status_code == 200
        job = await ask(client, imagine("slow"), **as_cookie(tokens[0]), **WRITES)
        streams = [asyncio.create_task(events_of(client, job["id"], **as_cookie(one))) for one in tokens[:2]]
        access = easel.usecases.people.access
        await eventually(lambda: len(access._open.get(key.partition(".")[0], ())) == 2)

        problem(await client.get(QUOTA, headers=as_cookie(tokens[2])), 429, "too_many_requests")
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)


async def test_a_key_and_its_sessions_have_one_limit_of_requests(easel):
    await easel.serve(max_requests_per_key=2)
    async with open_client(easel) as client:
        key = await easel.create_key("Ann")
        ways = [as_cookie(await sign_in(client, key)), {"Authorization": f"Bearer {key}"}]
        for one in ways:  # each is known from here on
            assert (await client.get(QUOTA, headers=one)).status_code == 200
        job = await ask(client, imagine("slow"), **ways[1])
        streams = [asyncio.create_task(events_of(client, job["id"], **one)) for one in ways]
        access = easel.usecases.people.access
        await eventually(lambda: len(access._open.get(key.partition(".")[0], ())) == 2)

        for one in ways:
            problem(await client.get(QUOTA, headers=one), 429, "too_many_requests")
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)


@pytest.mark.parametrize("others", [{"Cookie": "{junk}; {own}"}, {"Authorization": "Bearer {prefix}"}])
async def test_only_what_a_caller_is_let_in_by_counts_for_its_limit(easel, others):
    """Neither escapes it by a second cookie, nor takes up a session's by the prefix of its key."""
    await easel.serve(max_requests_per_key=1)
    async with open_client(easel) as client:
        key = await easel.create_key("Ann")
        token = await sign_in(client, key)
        own = {"Cookie": f"{HOST_COOKIE}={token}"}
        job = await ask(client, imagine("slow"), **own, **WRITES)
        shown = {"junk": f"{COOKIE}=x", "own": own["Cookie"], "prefix": key.partition(".")[0]}
        named = {name: text.format(**shown) for name, text in others.items()}
        stream = asyncio.create_task(events_of(client, job["id"], **own))
        await eventually(lambda: easel.is_followed(job["id"]))

        answer = await client.get(QUOTA, headers=named)

        assert answer.status_code == (429 if "Cookie" in named else 401)
        stream.cancel()
        await asyncio.gather(stream, return_exceptions=True)
