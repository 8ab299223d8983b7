"""Pages of other websites and the APIs of other programs: by name alone, with a key, and never the page's own API."""

import pytest
import pytest_asyncio

from bot.errors import StartupError
from tests.backends_required import require_backend
from tests.web.conftest import open_client, open_easel

pytestmark = pytest.mark.asyncio(loop_scope="module")
STUDIO = "https://studio.example"
APIS = ["/v1/models", "/sdapi/v1/options", "/controlnet/version", "/mcp"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def allowing(tmp_path_factory):
    async with open_easel(tmp_path_factory.mktemp("allowing")) as easel:
        await easel.serve(allowed_origins=(STUDIO, "http://localhost:5173"))
        yield easel


@pytest_asyncio.fixture(loop_scope="module")
async def visitor(allowing):
    async with open_client(allowing) as client:
        yield client


def preflight(client, path, origin=STUDIO, **headers):
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-stainless-os"}
    return client.options(path, headers={"Origin": origin, **asked, **headers})


def cors(answer):
    return {name for name in answer.headers if name.startswith("access-control-")}


@pytest.mark.parametrize("path", APIS)
async def test_a_page_of_a_named_website_may_ask(visitor, path):
    answer = await preflight(visitor, path, **{"Access-Control-Request-Private-Network": "true"})

    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == STUDIO
    assert answer.headers["access-control-allow-headers"] == "authorization,x-stainless-os"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in answer.headers
    assert "Origin" in answer.headers["vary"]


@pytest.mark.parametrize("origin", ["https://evil.example", "http://studio.example", f"{STUDIO}.evil.example", "null"])
@pytest.mark.parametrize("path", APIS)
async def test_pages_of_others_may_not(visitor, path, origin):
    asked, read = await preflight(visitor, path, origin), await visitor.get(path, headers={"Origin": origin})

    assert asked.status_code == 400
    assert "access-control-allow-origin" not in {*asked.headers, *read.headers}


@pytest.mark.parametrize("path", ["/api/v1/jobs", "/api/v1/session", "/", "/v10", "/metrics", "/openapi.json"])
async def test_the_pages_own_api_is_never_shared(visitor, path):
    answers = [await preflight(visitor, path), await visitor.get(path, headers={"Origin": STUDIO})]

    assert not any(map(cors, answers))


@pytest.mark.parametrize("path", APIS[:3])
async def test_a_page_needs_a_key_even_where_programs_need_none(allowing, visitor, path):
    without = await visitor.get(path, headers={"Origin": STUDIO})
    pages = await visitor.get(path)

    assert (without.status_code, pages.status_code) == (401, 200)
    assert "Other websites" in without.text
    assert without.headers["access-control-allow-origin"] == STUDIO


@pytest.mark.parametrize("path", APIS)
async def test_answers_to_a_call_with_a_key_may_be_read(allowing, visitor, path):
    if path == "/mcp":
        require_backend("mcp")
    key = await allowing.create_key("Ann")
    method = "POST" if path == "/mcp" else "GET"
    headers = {"Origin": STUDIO, "Sec-Fetch-Site": "cross-site", "Authorization": f"Bearer {key}"}
    answer = await visitor.request(method, path, headers=headers, json={} if method == "POST" else None)

    assert answer.headers["access-control-allow-origin"] == STUDIO
    assert answer.status_code == (400 if path == "/mcp" else 200)  # of its content, which is no message


async def test_without_the_setting_nobody_may(server, client):
    answers = [await preflight(client, path) for path in APIS[:3]]

    assert not any(map(cors, answers))
    assert {answer.status_code for answer in answers} == {405}


@pytest.mark.parametrize(
    "origin", ["*", "null", "", "https://studio.example/", "studio.example", "https://*.example", "HTTPS://A.example",
               "https://a.example:443", "http://a.example:80", "https://a.example\n"]
)  # fmt: skip
async def test_what_no_browser_sends_is_refused_at_startup(easel, origin):
    with pytest.raises(StartupError, match="is not an origin"):
        await easel.serve(allowed_origins=(origin,))


@pytest.mark.parametrize("origin", ["http://[::1]:5173", "app://obsidian.md", "chrome-extension://abcdef"])
async def test_apps_and_addresses_have_origins_as_well(easel, origin):
    await easel.serve(allowed_origins=(origin,))

    async with open_client(easel) as client:
        assert (await preflight(client, "/sdapi/v1/options", origin)).status_code == 200
