"""Forced colours, as in Windows's contrast themes, and pages that are enlarged two and four times (WCAG 1.4.10)."""

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.web.api_client import imagine, make, upload
from tests.web.fake_pool import picture

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]

LOOK = """(selector) => {
  const style = getComputedStyle(document.querySelector(selector));
  const opaque = style.backgroundColor.match(/\\d+/g).slice(0, 3).join();
  return [opaque, style.borderTopWidth];
}"""
OUTLINE = "(element) => getComputedStyle(element).outlineWidth + getComputedStyle(element).outlineColor"
EXCESS = """() => {
  const isScrolled = (one) =>
    one && (/auto|scroll|hidden/.test(getComputedStyle(one).overflowX) || isScrolled(one.parentElement));
  const width = document.documentElement.clientWidth;
  const wide = [...document.querySelectorAll("body *")]
    .filter((one) => one.getBoundingClientRect().right > width + 1 && !isScrolled(one.parentElement));
  wide.push(...[...document.querySelectorAll(".row")].filter((one) => one.scrollWidth > one.clientWidth + 1));
  const names = wide.slice(0, 3).map((one) => `${one.tagName}.${one.className}`);
  return [document.documentElement.scrollWidth - width, ...names];
}"""
STUCK = """() => {
  const isStuck = (one) => /sticky|fixed/.test(getComputedStyle(one).position);
  const boxes = [...document.querySelectorAll("body *")].filter(isStuck).map((one) => one.getBoundingClientRect());
  const bars = boxes.filter((box) => box.width > innerWidth / 2 && box.height < innerHeight);
  const seen = bars.map((box) => Math.max(0, Math.min(box.bottom, innerHeight) - Math.max(box.top, 0)));
  return seen.reduce((sum, one) => sum + one, 0) / innerHeight;
}"""
CHOSEN = {
    "/": [
        (".rail-link[aria-current]", ".rail-link:not([aria-current])"),
        (".create-modes label:has(:checked)", ".create-modes label:not(:has(:checked))"),
    ],
    "/gallery": [('.gallery-filters .chip[aria-pressed="true"]', ".gallery-select")],
    "/models?does=make": [('.models-filters [aria-pressed="true"]', '.models-filters [aria-pressed="false"]')],
    "/admin?tab=queue": [(".admin-tab[aria-current]", ".admin-tab:not([aria-current])")],
}


@pytest_asyncio.fixture(loop_scope="module")
async def forced(tab):
    await tab.page.emulate_media(forced_colors="active")
    yield tab
    await tab.page.emulate_media(forced_colors="none")


@pytest.mark.parametrize("path", CHOSEN)
async def test_what_is_chosen_is_seen_in_forced_colours(server, client, forced, path):
    await make(client, imagine("a red fox"))
    await forced.open(server.url, path)
    if path == "/gallery":
        await forced.page.get_by_role("button", name="Favourites").click()

    for chosen, other in CHOSEN[path]:
        await expect(forced.page.locator(chosen).first).to_be_visible()
        assert (await forced.page.evaluate(LOOK, chosen))[0] != (await forced.page.evaluate(LOOK, other))[0]


async def test_the_focus_is_seen_on_what_is_chosen_in_forced_colours(server, client, forced):
    await forced.open(server.url, "/models?does=make")
    chip = forced.page.locator('.models-filters [aria-pressed="true"]')
    before = await chip.evaluate(OUTLINE)

    await forced.page.keyboard.press("Tab")
    await chip.focus()

    assert await chip.evaluate(OUTLINE) != before


async def test_progress_and_messages_have_an_outline_in_forced_colours(server, client, forced):
    for prompt in ("slow fox", "an owl"):
        assert (await client.post("/api/v1/jobs", json=imagine(prompt, model="paint"))).status_code == 202
    await forced.open(server.url, "/queue")
    await expect(forced.page.locator("progress")).to_be_visible()

    progress = await forced.page.evaluate(LOOK, "progress")
    await forced.page.get_by_role("button", name="Cancel an owl").click()
    await expect(forced.page.locator(".toast")).to_be_visible()
    toast = await forced.page.evaluate(LOOK, ".toast")
    server.pool.go_on.set()

    assert [progress[1], toast[1]] == ["1px", "1px"]


@pytest.mark.parametrize(("width", "height"), [(720, 450), (320, 256)])
async def test_enlarged_pages_need_no_sideways_scrolling(server, client, tab, width, height):
    job = await make(client, imagine("a red fox in a very long prompt that goes on and on", count=2))
    media = await upload(client, picture(3, 96, 64))
    paths = ["/", "/gallery", f"/p/{job['id']}/1", f"/edit/{media['id']}", "/queue", "/models", "/admin?tab=people",
             "/admin?tab=devices", "/admin?tab=server"]  # fmt: skip
    await tab.page.set_viewport_size({"width": width, "height": height})
    try:
        for path in paths:
            await tab.page.goto(f"{server.url}{path}")
            await expect(tab.page.locator("#main h1, .overlay h1").first).to_be_attached()
            await expect(tab.page.locator(".state-loading")).to_have_count(0)
            assert await tab.page.evaluate(EXCESS) == [0], path
            assert await tab.page.evaluate(STUCK) < 0.5, path
    finally:
        await tab.page.set_viewport_size({"width": 1440, "height": 900})
