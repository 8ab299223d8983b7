"""What browsers and programs get at addresses without a page, and where a page fails."""

import pytest

from adapters.web.context import WebContext
from adapters.web.middleware import SECURITY_HEADERS
from bot.errors import StorageBusy
from tests.web.api_client import problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}
UNKNOWN = (
    "/nope",
    "/p/a%2Fb/1",
    "/p/x",
    "/media/0000",
    "/gallery/x",
    "/edit/a/b",
    "/API",
    "/apiary",
    "//evil.example/",
)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", UNKNOWN)
async def test_a_browser_gets_the_page_at_an_unknown_address(shared_client, method, path):
    answer = await shared_client.request(method, f"{shared_client.base_url}{path}", headers=BROWSER)

    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
    assert (answer.headers["vary"], answer.headers["cache-control"]) == ("Accept", "no-cache")
    if method == "GET":
        assert '<div id="app">' in answer.text
        assert "missing.js" in answer.text
        assert "evil" not in answer.text
    else:
        assert answer.content == b""


@pytest.mark.parametrize(
    "accept",
    ["*/*", "application/json", "application/json, text/html", "text/html;q=0, */*", "text/html;q=x", "", ";;q=,", "é"],
)
async def test_a_program_gets_a_problem_at_an_unknown_address(shared_client, accept):
    answer = await shared_client.get("/nope", headers={"Accept": accept.encode("latin-1")})

    problem(answer, 404, "not_found")


@pytest.mark.parametrize(
    "path",
    ["/api/v1/nope", "/api/v1/media/0000", "/api", "/internal/x", "/static/x/y.js"],
)
async def test_below_the_addresses_of_programs_everybody_gets_a_problem(shared_client, path):
    problem(await shared_client.get(path, headers=BROWSER), 404, "not_found")


@pytest.mark.parametrize("path", ["/v1/images/x", "/sdapi/v1/x", "/controlnet/x"])
async def test_below_the_addresses_of_other_programs_everybody_gets_their_form(shared_client, path):
    answer = await shared_client.get(path, headers=BROWSER)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/json"
    assert answer.json().keys() & {"error", "detail"}


async def test_a_slash_at_the_end_leads_to_the_page(shared_client):
    answer = await shared_client.get("/gallery/", headers=BROWSER, follow_redirects=True)

    assert (answer.status_code, answer.url.path) == (200, "/gallery")


async def test_a_method_that_a_page_does_not_support_is_refused_with_the_page(shared_client):
    by_browser = await shared_client.post("/gallery", headers=BROWSER)
    by_program = await shared_client.post("/gallery")

    assert (by_browser.status_code, by_browser.headers["allow"]) == (405, "GET, HEAD")
    assert '<div id="app">' in by_browser.text
    assert problem(by_program, 405, "method_not_allowed")


@pytest.mark.parametrize(
    ("error", "status", "code", "words"),
    [
        (RuntimeError("secret <b>"), 500, "internal", "Something went wrong"),
        (StorageBusy(), 503, "storage_busy", "The database is locked by another program"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/nope"])
async def test_a_page_that_fails_is_a_document_with_a_sentence(
    shared_client, monkeypatch, error, status, code, words, path
):
    async def fail(_context):
        raise error

    monkeypatch.setattr(WebContext, "needs_key", fail)
    by_browser = await shared_client.get(path, headers=BROWSER)
    assert (by_browser.status_code, by_browser.headers["content-type"]) == (status, "text/html; charset=utf-8")
    assert "This page could not be loaded" in by_browser.text
    assert words in by_browser.text
    assert "secret" not in by_browser.text
    assert "start.css" in by_browser.text
    assert by_browser.headers["cache-control"] == "no-store"
    if path == "/":
        problem(await shared_client.get(path), status, code)
