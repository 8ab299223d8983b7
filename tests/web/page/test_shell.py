"""The frame around every view: navigation, focus, session, connection, messages."""

import re

import pytest
import pytest_asyncio
from playwright.async_api import Page, Route, expect

from tests.web.page.conftest import find_violations, measure_layout_shift

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]

VIEWS = {
    "create": """import { html } from "./start.js";
        export const view = () => html`<div class="page"><h1>Create</h1>
          <label>Prompt <input id="prompt"></label></div>`;""",
    "gallery": """import { html, navigate, signal } from "./start.js";
        const rows = Array.from({ length: 80 }, (_, row) => row);
        export const loads = signal(0);
        export const load = () => void (loads.value += 1);
        export const view = ({ query }) => html`<div class="page"><h1>Gallery</h1>
          <p id="query">${query.get("q") ?? ""}</p><p id="loads">${loads.value}</p>
          ${rows.map((row) => html`<p><a class="button" href="/p/job/${row + 1}">Picture ${row + 1}</a></p>`)}
          </div>`;""",
    "viewer": """import { goBack, html } from "./start.js";
        export const view = ({ params }) => html`<div class="page"><h1>Picture ${params.n}</h1>
          <button type="button" @click=${() => goBack("/gallery")}>Back</button></div>`;""",
    "queue": """import { html, showUndo } from "./start.js";
        const note = (text) => () => void (document.body.dataset.note = text);
        const commit = ({ keepalive }) => (keepalive ? sessionStorage.setItem("left", "yes") : note("committed")());
        const remove = () => showUndo("Deleted.", { undo: note("undone"), commit });
        export const view = () => html`<div class="page"><h1>Queue</h1>
          <button type="button" @click=${remove}>Delete</button></div>`;""",
    "models": """import { html } from "./start.js";
        export const view = () => { throw new Error("a fault"); };""",
    "admin": """import { html } from "./start.js";
        export const load = async () => { throw new Error("The list could not be read."); };
        export const view = () => html`<h1>Admin</h1>`;""",
}


def answer(script: str):
    async def fulfil(route: Route) -> None:
        await route.fulfill(body=script, content_type="text/javascript")

    return fulfil


async def use_views(page: Page) -> None:
    """Views that need nothing but the frame."""
    for name, script in VIEWS.items():
        await page.route(re.compile(rf"/static/\w+/{name}\.js"), answer(script))


@pytest_asyncio.fixture(loop_scope="module")
async def views(tab):
    await use_views(tab.page)


@pytest_asyncio.fixture(loop_scope="module")
async def phone_views(phone):
    await use_views(phone.page)


async def test_links_change_the_view_its_title_and_the_focus(server, tab, views):
    await tab.open(server.url)
    await tab.page.evaluate("window.isSameDocument = true")

    await tab.page.get_by_role("link", name="Gallery").click()

    await expect(tab.page.get_by_role("heading", name="Gallery")).to_be_focused()
    await expect(tab.page).to_have_title("Gallery · Easel")
    await expect(tab.page.get_by_role("link", name="Gallery")).to_have_attribute("aria-current", "page")
    await tab.page.go_back()
    await expect(tab.page.get_by_role("heading", name="Create")).to_be_focused()
    assert await tab.page.evaluate("window.isSameDocument")
    assert tab.errors == []


@pytest.mark.parametrize("path", ["/", "/gallery?q=fox", "/queue", "/p/job/2"])
async def test_every_address_can_be_opened_directly(server, tab, views, path):
    await tab.open(server.url, path)

    await expect(tab.page.locator("#main h1")).to_be_visible()
    assert tab.errors == []


async def test_the_keyboard_reaches_every_view(server, tab, views):
    await tab.open(server.url)
    await tab.page.keyboard.press("Tab")
    await expect(tab.page.get_by_role("link", name="Skip to content")).to_be_focused()
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.locator("#main")).to_be_focused()
    await tab.page.get_by_role("link", name="Gallery").focus()
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.get_by_role("heading", name="Gallery")).to_be_focused()

    await tab.page.keyboard.press("Alt+1")

    await expect(tab.page.get_by_role("heading", name="Create")).to_be_focused()
    await tab.page.keyboard.press("?")
    sheet = tab.page.get_by_role("dialog", name="Keyboard shortcuts")
    await expect(sheet).to_contain_text("Undo")
    assert await find_violations(tab.page) == []
    await tab.page.keyboard.press("Escape")
    await expect(sheet).to_have_count(0)
    await expect(tab.page.get_by_role("heading", name="Create")).to_be_focused()
    await tab.page.get_by_label("Prompt").press("?")
    await expect(tab.page.get_by_label("Prompt")).to_have_value("?")
    await expect(sheet).to_have_count(0)
    assert tab.errors == []


async def test_going_back_restores_the_scroll_position(server, tab, views):
    await tab.open(server.url, "/gallery")
    await tab.page.evaluate("window.scrollTo(0, 900)")
    await tab.page.get_by_role("link", name="Queue").click()
    await expect(tab.page.get_by_role("heading", name="Queue")).to_be_focused()
    assert await tab.page.evaluate("window.scrollY") == 0

    await tab.page.go_back()

    await expect(tab.page.get_by_role("heading", name="Gallery")).to_be_focused()
    await expect(tab.page.locator("html")).to_have_js_property("scrollTop", 900)


async def test_who_scrolls_while_the_first_view_loads_stays_there(server, tab, views):
    await tab.page.add_init_script(
        """new MutationObserver((_, observer) => {
          window.scrollTo(0, 900);
          if (window.scrollY === 900) observer.disconnect();
        }).observe(document, { childList: true, subtree: true });"""
    )
    await tab.open(server.url, "/gallery")

    await tab.page.evaluate("new Promise((resolve) => setTimeout(() => requestAnimationFrame(resolve), 100))")
    assert await tab.page.evaluate("window.scrollY") == 900


async def test_an_overlay_leaves_the_view_below_as_it_was(server, tab, views):
    await tab.open(server.url, "/gallery")
    picture = tab.page.get_by_role("link", name="Picture 40")
    await picture.click()
    overlay = tab.page.get_by_role("dialog", name="Picture")
    await expect(overlay.get_by_role("heading", name="Picture 40")).to_be_focused()
    await expect(tab.page.locator("#main")).to_have_attribute("inert", "")
    assert await find_violations(tab.page) == []

    await overlay.get_by_role("button", name="Back").click()

    await expect(overlay).to_have_count(0)
    await expect(picture).to_be_focused()
    await expect(picture).to_be_in_viewport()
    await expect(tab.page.locator("#loads")).to_have_text("1")
    assert tab.errors == []


async def test_a_part_that_cannot_be_loaded_is_offered_again(server, tab, views):
    await tab.open(server.url)
    await tab.page.route(re.compile("gallery.js"), lambda route: route.fulfill(status=404), times=1)
    await tab.page.get_by_role("link", name="Gallery").click()
    await expect(tab.page.get_by_role("heading", name="could not be loaded")).to_be_visible()
    assert await find_violations(tab.page) == []

    await tab.page.get_by_role("button", name="Try again").click()

    await expect(tab.page.get_by_role("heading", name="Gallery")).to_be_visible()


async def test_faults_of_a_view_leave_the_page_usable(server, tab, views):
    await tab.open(server.url)
    await tab.page.get_by_role("link", name="Models").click()
    await expect(tab.page.get_by_role("alert")).to_contain_text("Something went wrong in the page.")
    await tab.page.get_by_role("link", name="Admin").click()
    await expect(tab.page.get_by_role("alert")).to_contain_text("The list could not be read.")

    await tab.page.get_by_role("link", name="Create").first.click()

    await expect(tab.page.get_by_role("heading", name="Create")).to_be_visible()


async def test_a_deletion_is_undone_by_one_key_and_sent_when_the_page_closes(server, tab, views):
    await tab.open(server.url, "/queue")
    delete = tab.page.get_by_role("button", name="Delete")
    await delete.click()
    await tab.page.keyboard.press("z")
    await expect(tab.page.locator("body")).to_have_attribute("data-note", "undone")
    await expect(tab.page.locator(".toast")).to_have_count(0)
    await delete.click()
    assert await find_violations(tab.page) == []
    await tab.page.get_by_role("button", name="Close this message").click()
    await expect(tab.page.locator("body")).to_have_attribute("data-note", "committed")
    await delete.click()

    await tab.page.reload()

    assert await tab.page.evaluate("sessionStorage.getItem('left')") == "yes"
    assert tab.errors == []


async def test_the_account_menu_shows_the_quota_and_keeps_the_theme(server, tab, views):
    key = await server.create_key("Ada")
    await tab.page.goto(f"{server.url}/gallery")
    await tab.sign_in(key)
    await tab.page.get_by_role("button", name="Account").click()
    menu = tab.page.get_by_role("dialog", name="Account")
    await expect(menu).to_contain_text("5 of 5 device-seconds left today")
    assert await find_violations(tab.page) == []

    await menu.get_by_text("Dark").click()

    await expect(tab.page.locator("html")).to_have_attribute("data-theme", "dark")
    assert await find_violations(tab.page) == []
    await tab.page.reload()
    await expect(tab.page.locator("html")).to_have_attribute("data-theme", "dark")
    await expect(tab.page.locator("body")).to_have_css("background-color", "rgb(20, 20, 20)")
    await tab.page.get_by_role("button", name="Account").click()
    await menu.get_by_role("button", name="Sign out").click()
    await expect(tab.page.get_by_role("heading", name="Sign in to Easel")).to_be_visible()
    assert tab.errors == []


async def test_a_wrong_key_is_refused_in_a_sentence(server, tab, views):
    await server.create_key("Ada")
    await tab.page.goto(f"{server.url}/")
    await expect(tab.page.get_by_label("API key", exact=True)).to_have_attribute("autocomplete", "current-password")
    await tab.page.get_by_role("button", name="Sign in").click()
    await expect(tab.page.get_by_role("alert")).to_contain_text("Enter your key.")
    assert tab.errors == []

    await tab.sign_in("wrong.key")

    await expect(tab.page.get_by_role("alert")).to_contain_text("This key is not valid.")
    await expect(tab.page.get_by_label("API key", exact=True)).to_be_focused()
    assert await find_violations(tab.page) == []


async def test_a_lost_session_keeps_what_was_typed(server, tab, views):
    first, second = await server.create_key("Ada"), await server.create_key("Ada")
    await tab.page.goto(f"{server.url}/")
    await tab.sign_in(first)
    await tab.page.get_by_label("Prompt").fill("half a sentence")
    await server.usecases.people.revoke_key(first.partition(".")[0])

    await tab.page.evaluate(
        "import(document.documentElement.dataset.static + 'start.js').then((page) => void page.refreshQuota())"
    )

    await expect(tab.page.get_by_role("heading", name="Your session has ended")).to_be_visible()
    assert await find_violations(tab.page) == []
    await tab.sign_in(second)
    await expect(tab.page.get_by_label("Prompt")).to_have_value("half a sentence")
    await expect(tab.page.get_by_label("Prompt")).to_be_visible()


async def test_the_banner_goes_within_three_seconds_after_the_server_is_back(server, tab, views):
    await tab.open(server.url)
    port = int(server.url.rpartition(":")[2])
    await server.stop()
    await expect(tab.page.locator(".banner")).to_be_visible()
    assert await find_violations(tab.page) == []

    await server.serve(port=port)

    await expect(tab.page.locator(".banner")).to_have_count(0, timeout=3000)


async def test_jobs_of_other_tabs_are_counted(server, client, tab, views):
    await tab.open(server.url)
    await client.post("/api/v1/jobs", json={"command": "imagine", "options": {"prompt": "slow fox"}})

    await expect(tab.page.locator(".badge")).to_contain_text("1", timeout=2000)
    server.pool.go_on.set()
    await expect(tab.page.locator(".badge")).to_have_count(0)
    assert tab.errors == []


async def test_the_start_shifts_nothing_and_needs_few_requests(server, tab):
    addresses = []
    tab.page.on("request", lambda request: addresses.append(request.url))

    await tab.open(server.url)

    assert await measure_layout_shift(tab.page) < 0.02
    assert len(addresses) <= 30, addresses
    assert await find_violations(tab.page) == []
    assert tab.errors == []


async def test_on_a_phone_tabs_are_at_the_bottom_and_large_enough(server, phone, phone_views):
    await phone.open(server.url)
    await phone.page.get_by_role("link", name="Gallery").tap()
    await expect(phone.page.get_by_role("heading", name="Gallery")).to_be_visible()

    boxes = [await link.bounding_box() for link in await phone.page.locator(".tabs a").all()]
    width = await phone.page.evaluate("document.documentElement.scrollWidth")

    assert len(boxes) == 5
    assert all(box["height"] >= 44 and box["width"] >= 44 and box["y"] > 700 for box in boxes)
    assert width <= 390
    assert await find_violations(phone.page) == []
    await phone.page.get_by_role("button", name="Account").tap()
    await expect(phone.page.get_by_role("dialog", name="Account")).to_be_in_viewport(ratio=1)
    assert await measure_layout_shift(phone.page) < 0.02
    assert phone.errors == []
