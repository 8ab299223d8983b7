"""What addresses open that nobody has typed right: unknown ones, absurd filters, a picture without its gallery."""

import re

import pytest
from playwright.async_api import expect

from bot.error_texts import ENGINE_SENTENCES
from tests.web.api_client import ask, imagine, make, wait_for
from tests.web.conftest import open_client
from tests.web.page.conftest import find_violations
from tests.web.page.test_viewer import swipe

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]


def is_status(status: int):
    """The browser itself reports the status of a document that is not 200."""
    return lambda error: f"status of {status}" in error


async def test_an_unknown_address_is_the_page_that_says_so(server, tab):
    await tab.open(server.url, "/nope")

    await expect(tab.page.get_by_role("heading", name="This page does not exist")).to_be_visible()
    await expect(tab.page).to_have_title("Not found · Easel")
    assert await find_violations(tab.page) == []
    await tab.page.locator("#main").get_by_role("link", name="Open the gallery").click()
    await expect(tab.page.get_by_role("heading", name="Gallery", exact=True)).to_be_visible()
    await tab.page.go_back()
    await expect(tab.page.get_by_role("heading", name="This page does not exist")).to_be_visible()
    await tab.open(server.url, "/p/a%2Fb/1")
    await expect(tab.page.get_by_role("heading", name="This picture does not exist").first).to_be_visible()
    assert [error for error in tab.errors if not is_status(404)(error)] == []


@pytest.mark.parametrize(
    ("path", "title"), [("//", "Create · Easel"), ("//elsewhere.example/gallery", "Not found · Easel")]
)
async def test_an_address_with_two_slashes_shows_a_view(server, tab, path, title):
    await tab.open(server.url, path)

    await expect(tab.page).to_have_title(title)
    assert [error for error in tab.errors if not is_status(404)(error)] == []


async def test_an_unknown_address_shows_nobody_anything_without_a_key(server, tab):
    await server.create_key("ann")

    await tab.page.goto(f"{server.url}/nope")

    await expect(tab.page.get_by_role("heading", name="Sign in to Easel")).to_be_visible()


async def test_a_page_that_failed_is_a_readable_document(server, tab, monkeypatch):
    async def fail(_context):
        raise RuntimeError

    monkeypatch.setattr("adapters.web.context.WebContext.needs_key", fail)
    await tab.page.goto(server.url)
    await expect(tab.page.get_by_role("heading", name="This page could not be loaded")).to_be_visible()
    assert await find_violations(tab.page) == []
    monkeypatch.undo()

    await tab.page.get_by_role("link", name="Try again").click()

    await expect(tab.page.get_by_label("Prompt")).to_be_visible()


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("state=nonsense", "The filters in this link are not valid."),
        ("collection=nonsense", "This collection does not exist. It may have been deleted."),
    ],
)
async def test_a_filter_that_cannot_be_used_offers_all_pictures(server, client, tab, query, text):
    await make(client)
    await tab.open(server.url, f"/gallery?{query}&before=garbage&favourite=maybe")
    await expect(tab.page.locator("#main")).to_contain_text(text)
    await expect(tab.page.get_by_role("button", name="Try again")).to_have_count(0)
    await expect(tab.page.locator(".gallery-count")).not_to_have_text("Loading…")

    await tab.page.get_by_role("button", name="Show all pictures").click()

    await expect(tab.page.locator(".gallery-tile")).to_have_count(1)


async def test_filters_that_mean_nothing_are_left_out(server, client, tab):
    await make(client)
    await tab.open(server.url, "/gallery?before=garbage&favourite=maybe&limit=many")
    await expect(tab.page.locator(".gallery-tile")).to_have_count(1)

    await tab.open(server.url, "/admin?tab=constructor")

    await expect(tab.page.get_by_role("heading", name="This page does not exist")).to_be_visible()
    await expect(tab.page.get_by_role("alert")).to_have_count(0)
    assert tab.errors == []


async def test_a_code_that_is_too_long_is_not_offered_again(server, tab):
    await tab.open(server.url, f"/admin?tab=incidents&code={'x' * 300}")

    await expect(tab.page.get_by_role("alert")).to_contain_text("Please shorten it.")
    await expect(tab.page.get_by_role("button", name="Try again")).to_have_count(0)


async def test_from_a_direct_link_the_keys_reach_newer_and_older_pictures(server, client, tab):
    jobs = [await make(client, imagine(f"picture {number}")) for number in range(1, 4)]
    slow = await ask(client, imagine("slow picture 4"))
    requests = []
    tab.page.on("request", lambda request: requests.append(request.url))
    await tab.open(server.url, f"/p/{jobs[1]['id']}/1")
    words, place = tab.page.locator(".viewer-words"), tab.page.locator(".viewer-bar .number")
    await expect(place).to_have_text("2 of 3")
    assert len(requests) <= 30

    server.pool.go_on.set()
    await wait_for(client, slow["id"])
    await expect(place).to_have_text("3 of 4")  # what arrives moves nothing
    await expect(words).to_have_text("picture 2")
    await tab.page.keyboard.press("ArrowLeft")
    await expect(words).to_have_text("picture 3")
    await tab.page.keyboard.press("ArrowLeft")
    await expect(words).to_have_text("slow picture 4")
    await tab.page.keyboard.press("ArrowLeft")
    await expect(words).to_have_text("slow picture 4")
    await tab.page.get_by_role("link", name="Next picture").click()
    await tab.page.keyboard.press("ArrowRight")
    await tab.page.keyboard.press("ArrowRight")
    await expect(words).to_have_text("picture 1")
    await tab.page.get_by_role("link", name="Previous picture").click()
    await expect(words).to_have_text("picture 2")
    assert tab.errors == []


async def test_between_a_direct_link_and_what_arrives_nothing_is_skipped(server, client, tab):
    """More than a page lies between them."""
    first = await make(client, imagine("picture 0"))
    jobs = [await ask(client, imagine(f"picture {number}")) for number in range(1, 21)]
    await wait_for(client, jobs[-1]["id"])
    await make(client, imagine("picture 21"))
    await tab.open(server.url, f"/p/{first['id']}/1")
    words, is_newer = tab.page.locator(".viewer-words"), tab.page.locator(".viewer-previous[href]")
    await expect(is_newer).to_be_attached()

    await make(client, imagine("a newcomer"))

    for key, title in (("Home", "picture 20"), ("ArrowLeft", "picture 21"), ("ArrowLeft", "a newcomer")):
        await expect(is_newer).to_be_attached()
        await tab.page.keyboard.press(key)
        await expect(words).to_have_text(title)
    await expect(is_newer).to_have_count(0)


async def test_a_deletion_and_another_persons_pictures_leave_the_order(server, tab):
    ann, bob = [await server.create_key(name) for name in ("ann", "bob")]
    async with open_client(server) as client:

        async def make_as(key: str, words: str):
            client.headers["Authorization"] = f"Bearer {key}"
            return await make(client, imagine(words))

        first = await make_as(ann, "first")
        await make_as(bob, "the secret of bob")
        await make_as(ann, "second")
        await make_as(ann, "third")
    await tab.page.goto(f"{server.url}/p/{first['id']}/1")
    await tab.sign_in(ann)
    words = tab.page.locator(".viewer-words")
    await expect(tab.page.locator(".viewer-bar .number")).to_have_text("3 of 3")

    await tab.page.keyboard.press("Delete")

    await expect(words).to_have_text("second")
    await tab.page.keyboard.press("ArrowLeft")
    await expect(words).to_have_text("third")
    await tab.page.keyboard.press("z")
    await expect(words).to_have_text("first")


async def test_from_a_direct_link_one_swipes_both_ways(server, client, phone):
    jobs = [await make(client, imagine(f"picture {number}")) for number in range(1, 4)]
    await phone.open(server.url, f"/p/{jobs[1]['id']}/1")
    words = phone.page.locator(".viewer-words")
    await expect(phone.page.locator(".viewer-bar .number")).to_have_text("2 of 3")
    await expect(phone.page.locator(".viewer-loaded")).to_be_visible()

    await swipe(phone.page, [(100, 300), (200, 302), (300, 303)])

    await expect(words).to_have_text("picture 3")
    await expect(phone.page.locator(".viewer-loaded")).to_be_visible()
    await swipe(phone.page, [(300, 300), (200, 302), (100, 303)])
    await expect(words).to_have_text("picture 2")
    assert phone.errors == []


@pytest.mark.parametrize("path", ["/gallery?state=failed", "/queue", "/", "/p/{job}/1", "/admin?tab=incidents"])
async def test_commands_in_sentences_are_in_the_type_of_code(server, client, tab, monkeypatch, path):
    monkeypatch.setitem(ENGINE_SENTENCES, "engine_failed", "Run `easel setup`, please ({incident}).")
    failed = await wait_for(client, (await ask(client, imagine("fail here")))["id"], "failed")
    await tab.open(server.url, path.format(job=failed["id"]))
    if path in ("/", "/queue"):
        await ask(client, imagine("fail again"))
    await expect(tab.page.locator("#main code", has_text="easel setup").first).to_be_visible()

    assert "`" not in await tab.page.locator("body").inner_text()


async def test_commands_in_refusals_and_messages_are_in_the_type_of_code(server, client, tab):
    job = await make(client)
    refusal = {"code": "blocked", "detail": "Run `easel models use NAME` first."}
    await tab.page.route(re.compile("/api/v1/jobs$"), lambda route: route.fulfill(status=403, json=refusal))
    await tab.open(server.url)
    await tab.page.get_by_label("Prompt").fill("a fox")
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.get_by_role("alert").locator("code")).to_have_text("easel models use NAME")
    await tab.open(server.url, f"/p/{job['id']}/1")

    await tab.page.get_by_role("button", name="Upscale", exact=True).click()

    await expect(tab.page.locator(".toast code")).to_have_text("easel models use NAME")
    await expect(tab.page.get_by_text("Run easel models use NAME first.").first).to_be_attached()
    assert "`" not in await tab.page.locator("body").inner_text()
    assert await find_violations(tab.page) == []
