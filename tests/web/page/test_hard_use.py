"""People who hold keys, use several tabs, delete in a hurry, share a browser, or follow damaged links."""

import re

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from tests.web.api_client import imagine, make
from tests.web.conftest import open_client
from tests.web.page.conftest import Tab

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def second(tab):
    """Another tab of the same browser."""
    opened = Tab(await tab.page.context.new_page())
    yield opened
    await opened.page.close()


def tiles(page: Page):
    return page.locator(".gallery-tile")


async def fill(client, count: int):
    return [await make(client, imagine(f"picture {number}")) for number in range(count)]


async def press(page: Page, key: str, times: int) -> None:
    for _ in range(times):
        await page.keyboard.press(key)
        await page.wait_for_timeout(60)  # one press for each picture that is shown next


async def sign_out(page: Page) -> None:
    await page.get_by_role("button", name="Account", exact=True).click()
    await page.get_by_role("button", name="Sign out").click()


async def open_as(tab: Tab, url: str, key: str) -> None:
    await tab.page.goto(url)
    await tab.sign_in(key)
    await expect(tab.page.locator("#main h1")).to_be_attached()


@pytest.mark.parametrize(
    ("path", "sentence"),
    [("/p/%E0%A4%A/1", "This picture does not exist"), ("/edit/%ff", "This picture does not exist")],
)
async def test_a_damaged_link_says_that_there_is_nothing(server, tab, path, sentence):
    await tab.open(server.url, path)

    await expect(tab.page.get_by_role("heading", name=sentence).first).to_be_visible()


async def test_a_held_key_acts_once_and_moves_on_and_on(server, client, tab):
    jobs = await fill(client, 4)
    await tab.open(server.url, "/gallery")
    await tiles(tab.page).first.get_by_role("link").click()
    await expect(tab.page.locator(".viewer-full")).to_be_visible()

    for _ in range(3):
        await tab.page.keyboard.down("Delete")
    await tab.page.keyboard.up("Delete")

    await expect(tab.page.locator(".toast")).to_have_count(1)
    await expect(tab.page).to_have_url(re.compile(jobs[2]["id"]))
    await tab.page.keyboard.down("ArrowRight")
    await tab.page.keyboard.down("ArrowRight")
    await tab.page.keyboard.up("ArrowRight")
    await expect(tab.page).to_have_url(re.compile(jobs[0]["id"]))
    assert tab.errors == []


async def test_of_five_quick_deletions_each_can_be_undone(server, client, tab):
    await fill(client, 5)
    await tab.open(server.url, "/gallery")
    await tiles(tab.page).first.get_by_role("link").focus()

    await press(tab.page, "Delete", 5)

    await expect(tab.page.get_by_role("heading", name="Your gallery is empty")).to_be_visible()
    await expect(tab.page.get_by_role("heading", name="Gallery", exact=True)).to_be_focused()
    await expect(tab.page.locator(".toast")).to_have_count(3)
    await press(tab.page, "z", 5)
    await expect(tiles(tab.page)).to_have_count(5)
    assert (await client.get("/api/v1/jobs")).json()["total"] == 5


async def test_what_is_deleted_in_another_tab_is_not_looked_at_for_ever(server, client, tab):
    (job,) = await fill(client, 1)
    await tab.open(server.url, f"/p/{job['id']}/1")
    await expect(tab.page.locator(".viewer-full")).to_be_visible()

    await client.delete(f"/api/v1/jobs/{job['id']}?erase=true")

    await expect(tab.page.get_by_role("heading", name="This picture does not exist").first).to_be_attached()


async def test_signing_out_carries_out_what_could_be_undone(server, tab):
    key = await server.create_key("ann")
    async with open_client(server) as client:
        client.headers["Authorization"] = f"Bearer {key}"
        await fill(client, 2)
        await open_as(tab, f"{server.url}/gallery", key)
        await tiles(tab.page).first.get_by_role("link").focus()
        await tab.page.keyboard.press("Delete")

        await sign_out(tab.page)

        await expect(tab.page).to_have_url(f"{server.url}/")
        await expect(tab.page.get_by_label("API key", exact=True)).to_be_visible()
        assert (await client.get("/api/v1/jobs")).json()["total"] == 1


async def test_a_tab_follows_who_signs_out_and_in_elsewhere(server, tab, second):
    ann, bob = [await server.create_key(name) for name in ("ann", "bob")]
    await open_as(tab, server.url, ann)
    await second.open(server.url)
    # a hidden tab has no stream of events that would end
    await second.page.route("**/api/v1/events", lambda route: route.abort())
    await second.page.evaluate("Object.defineProperty(document, 'hidden', {get: () => true})")
    await second.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await second.page.get_by_label("Prompt").fill("the secret of ann")

    await sign_out(tab.page)
    await expect(second.page.get_by_role("heading", name="Your session has ended")).to_be_visible()
    await tab.sign_in(bob)

    await expect(second.page.get_by_label("Prompt")).to_have_value("")
    await expect(second.page.locator(".menu-title")).to_have_text("bob")


async def test_a_dialog_waits_while_somebody_signs_in_again(server, tab):
    key = await server.create_key("ann")
    await open_as(tab, server.url, key)
    await tab.page.get_by_label("Prompt").focus()
    await tab.page.get_by_role("button", name="Account", exact=True).click()
    entry = tab.page.get_by_role("button", name="Linked accounts")
    await expect(entry).to_be_visible()
    await tab.page.context.clear_cookies()
    await entry.click()
    await expect(tab.page.get_by_role("heading", name="Your session has ended")).to_be_visible()

    await tab.sign_in(key)

    dialog = tab.page.get_by_role("dialog", name="Your account")
    await expect(dialog.get_by_role("button", name="Get a code for a chat")).to_be_visible()
    await tab.page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)


async def test_the_focus_is_back_after_signing_in_again(server, tab):
    key = await server.create_key("ann")
    await open_as(tab, server.url, key)
    await tab.page.context.clear_cookies()
    await tab.page.get_by_label("Prompt").fill("a fox")
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.get_by_label("API key", exact=True)).to_be_focused()

    await tab.sign_in(key)

    await expect(tab.page.get_by_label("Prompt")).to_be_focused()
    await expect(tab.page.get_by_label("Prompt")).to_have_value("a fox")


async def test_a_part_that_an_outage_hid_comes_with_the_server(server, tab):
    await tab.open(server.url)
    port = int(server.url.rsplit(":", 1)[1])
    await server.stop()
    await expect(tab.page.locator(".banner")).to_be_visible()
    await tab.page.get_by_role("link", name="Models").click()
    await expect(tab.page.get_by_text("The server is not responding. Try again when it is back.")).to_be_visible()

    await server.serve(port=port)

    await expect(tab.page.get_by_role("heading", name="Models", exact=True)).to_be_visible()


async def test_the_gallery_fits_a_screen_that_is_enlarged_four_times(server, client, tab):
    await fill(client, 1)
    await tab.page.set_viewport_size({"width": 320, "height": 256})
    try:
        await tab.open(server.url, "/gallery")
        await expect(tiles(tab.page)).to_have_count(1)
        excess = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert await tab.page.evaluate(excess) == 0
    finally:
        await tab.page.set_viewport_size({"width": 1440, "height": 900})


async def test_a_question_that_was_not_sent_stays_with_its_picture(server, client, tab):
    one, other = await fill(client, 2)
    field = tab.page.get_by_label("Ask about this picture")
    await tab.open(server.url, f"/p/{one['id']}/1")
    await field.fill("where is it?")
    await tab.page.reload()
    await expect(field).to_have_value("where is it?")
    await tab.open(server.url, f"/p/{other['id']}/1")
    await expect(field).to_have_value("")
    await tab.open(server.url, f"/p/{one['id']}/1")
    await expect(field).to_have_value("where is it?")

    await tab.page.keyboard.press("Tab")
    await field.press("Enter")

    await expect(tab.page.locator(".viewer-thread")).to_contain_text("It is where is it?")
    await expect(field).to_have_value("")


async def test_visits_of_the_gallery_leave_nothing_behind(server, client, tab):
    await fill(client, 3)
    session = await tab.page.context.new_cdp_session(tab.page)
    await session.send("Performance.enable")

    async def count_listeners() -> int:
        await session.send("HeapProfiler.collectGarbage")
        found = await session.send("Performance.getMetrics")
        return next(one["value"] for one in found["metrics"] if one["name"] == "JSEventListeners")

    async def visit(times: int) -> None:
        for _ in range(times):
            await tab.page.get_by_role("link", name="Gallery", exact=True).click()
            await expect(tiles(tab.page)).to_have_count(3)
            await tab.page.get_by_role("link", name="Queue", exact=True).click()
            await expect(tiles(tab.page)).to_have_count(0)

    await tab.open(server.url, "/queue")
    await visit(2)
    before = await count_listeners()
    await visit(4)

    assert await count_listeners() <= before + 8
    await session.detach()


async def test_what_is_sent_before_the_commands_are_known_is_sent_when_they_are(server, client, tab):
    async def answer_late(route):
        await tab.page.wait_for_timeout(200)
        await route.continue_()

    await tab.page.route("**/api/v1/commands", answer_late)
    await tab.open(server.url)
    await tab.page.get_by_label("Prompt").fill("an early fox")
    await tab.page.keyboard.press("Enter")
    await tab.page.keyboard.press("Enter")

    await expect(tab.page.get_by_text("Done: an early fox")).to_be_attached()
    assert (await client.get("/api/v1/jobs")).json()["total"] == 1
    assert tab.errors == []
