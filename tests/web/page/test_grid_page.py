"""A grid on the page: its axes in Create, the table that is filled, its sheets, and its cells among other pictures."""

import pytest
from playwright.async_api import Page, expect

from tests.web.page.conftest import Tab, find_violations

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]


async def open_axes(page: Page, prompt: str) -> None:
    await page.locator("#prompt").fill(prompt)
    await page.get_by_role("button", name="Grid", exact=True).click()
    await page.locator("#axis-values-0").fill("2-3")
    await page.get_by_role("button", name="Add rows").click()
    await page.get_by_role("combobox", name="Rows").select_option("prompt")
    await page.locator("#axis-values-1").fill("quick, slow")


async def test_a_grid_is_priced_filled_live_and_ends_in_a_sheet(server, client, tab: Tab):
    page = tab.page
    await tab.open(server.url)
    await open_axes(page, "a quick fox")
    in_editor = await find_violations(page)
    await page.locator("#prompt").press("Enter")
    await expect(page.get_by_role("group", name="Confirmation")).to_contain_text("This grid makes 4 combinations")
    await page.get_by_role("button", name="Generate all").click()
    await expect(page.locator("main [role=status]").first).to_contain_text("2 of 4 pictures")
    table = page.get_by_role("table", name="a quick fox")
    await expect(table.get_by_role("columnheader")).to_have_text(["a steps: 2", "b steps: 3"])
    await expect(table.get_by_role("rowheader")).to_have_text(["1 prompt: quick", "2 prompt: slow"])
    await expect(table.get_by_role("link", name="a1, steps: 2, prompt: quick", exact=True)).to_be_visible()
    await expect(table.get_by_role("progressbar")).to_have_count(1)
    while_filled = await find_violations(page)
    server.pool.go_on.set()
    await expect(page.get_by_role("link", name="Download the sheet")).to_be_visible()
    await expect(page.locator(".grids-sheets img")).to_have_js_property("complete", True)

    assert (in_editor, while_filled, await find_violations(page)) == ([], [], [])
    batch = page.url.rpartition("/")[2]
    [sheet] = (await client.get(f"/api/v1/batches/{batch}")).json()["sheets"]
    assert "prompt: quick, slow" in str(await page.locator(".grids-sheets img").get_attribute("alt"))
    assert sheet["id"] in str(await page.get_by_role("link", name="Download the sheet").get_attribute("href"))

    await table.get_by_role("link", name="b2, steps: 3, prompt: slow", exact=True).click()
    await expect(page.locator(".viewer-facts")).to_contain_text("b2")
    await page.keyboard.press("Escape")
    await page.get_by_role("link", name="Use the settings of a2, steps: 2, prompt: slow").click()
    await expect(page.locator("#prompt")).to_have_value("a slow fox")
    await expect(page.get_by_role("button", name="Grid", exact=True)).to_have_attribute("aria-pressed", "false")
    await expect(page.locator(".grids-tile")).to_contain_text("Grid of 4 pictures")
    await page.goto(f"{server.url}/gallery")
    await page.locator(".gallery-cell", has_text="a1").click()
    await expect(table).to_be_visible()
    assert tab.errors == []


async def test_all_of_a_grid_is_cancelled_on_a_phone_and_its_cells_say_so(server, phone: Tab):
    page = phone.page
    await phone.open(server.url)
    await open_axes(page, "a quick fox")
    in_editor = await find_violations(page)
    await page.get_by_role("button", name="Imagine", exact=True).click()
    await page.get_by_role("button", name="Generate all").click()
    await expect(page.locator("main [role=status]").first).to_contain_text("2 of 4 pictures")
    await page.get_by_role("button", name="Cancel all").click()
    await expect(page.locator("main [role=status]").first).to_have_text("2 of 4 pictures were made.")
    await expect(page.locator(".grids-reason")).to_have_count(2)
    await expect(page.get_by_role("link", name="Download the sheet")).to_be_visible()
    width = await page.evaluate("document.documentElement.scrollWidth")

    assert (in_editor, await find_violations(page), width) == ([], [], 390)
    await page.goto(f"{server.url}/grid/{'a' * 16}")
    await expect(page.get_by_role("heading", name="This grid does not exist")).to_be_visible()
    assert [one for one in phone.errors if "404" not in one] == []


async def fill_grid(page: Page) -> None:
    """Two of its four pictures are made, the others wait for `server.pool.go_on`."""
    await open_axes(page, "a quick fox")
    await page.locator("#prompt").press("Enter")
    await page.get_by_role("button", name="Generate all").click()
    await expect(page.locator("main [role=status]").first).to_contain_text("2 of 4 pictures")


async def test_a_grid_that_is_changed_before_it_is_confirmed_is_priced_again(server, client, tab: Tab):
    page = tab.page
    await tab.open(server.url)
    await open_axes(page, "a quick fox")
    await page.locator("#axis-values-0").press("Enter")
    confirmation = page.get_by_role("group", name="Confirmation")
    await expect(confirmation).to_contain_text("This grid makes 4 combinations")
    await expect(page.get_by_role("status").filter(has_text="This grid makes 4 combinations")).to_be_attached()

    await page.locator("#axis-values-0").fill("2-4")
    await expect(confirmation).to_have_count(0)
    await page.locator("#axis-values-0").press("Enter")
    await expect(confirmation).to_contain_text("This grid makes 6 combinations")
    assert (await client.get("/api/v1/jobs")).json()["jobs"] == []


async def test_a_grid_and_its_cancelling_move_the_focus_to_its_heading(server, tab: Tab):
    page = tab.page
    await tab.open(server.url)
    await fill_grid(page)
    heading = page.get_by_role("heading", name="a quick fox")
    await expect(heading).to_be_focused()

    await page.get_by_role("button", name="Cancel all").press("Enter")
    await expect(page.get_by_role("button", name="Cancel all")).to_have_count(0)
    await expect(heading).to_be_focused()


async def test_the_tile_of_a_grid_in_create_stays_while_the_grid_is_filled(server, tab: Tab):
    page = tab.page
    await tab.open(server.url)
    await fill_grid(page)
    await page.goto(f"{server.url}/queue")
    await expect(page.get_by_role("button", name="Cancel a slow fox, b2 of a grid")).to_be_visible()
    await expect(page.get_by_role("link", name="Grid b2")).to_be_visible()
    await page.goto(server.url)
    tile = page.locator(".grids-tile")
    await expect(tile).to_contain_text("Grid: 2 of 4 pictures")
    await tile.get_by_role("link").focus()

    server.pool.go_on.set()
    await expect(tile).to_contain_text("Grid of 4 pictures")
    await expect(tile.get_by_role("link")).to_be_focused()
    assert tab.errors == []


async def test_grids_among_the_newest_jobs_leave_room_for_others_and_are_counted_whole(server, client, tab: Tab):
    await tab.open(server.url)
    await client.post("/api/v1/jobs", json={"command": "imagine", "options": {"prompt": "an older owl"}})
    for number in range(3):
        options = {"prompt": f"fox {number}", "x": "steps=1-2", "y": "seed=1-8"}
        quote = (await client.post("/api/v1/quotes", json={"command": "grid", "options": options})).json()["quote"]
        await client.post("/api/v1/jobs", json={"command": "grid", "options": options, "quote": quote})
        await expect(tab.page.locator(".grids-tile", has_text=f"fox {number}")).to_contain_text("Grid of 16 pictures")

    await tab.page.reload()
    await expect(tab.page.get_by_text("Grid of 16 pictures")).to_have_count(3)
    await expect(tab.page.get_by_role("img", name="an older owl")).to_be_visible()
    assert tab.errors == []


async def test_the_viewer_steps_through_a_grid_as_its_table_is_read(server, tab: Tab):
    page = tab.page
    server.pool.go_on.set()
    await tab.open(server.url)
    await open_axes(page, "a quick fox")
    await page.locator("#prompt").press("Enter")
    await page.get_by_role("button", name="Generate all").click()
    await expect(page.get_by_role("link", name="Download the sheet")).to_be_visible()

    await page.get_by_role("link", name="b1, steps: 3, prompt: quick", exact=True).click()
    await expect(page.locator(".viewer-bar")).to_contain_text("2 of 4")
    await page.keyboard.press("ArrowRight")
    await expect(page.locator(".viewer-facts")).to_contain_text("a2")
    await page.reload()
    await expect(page.locator(".viewer-bar")).to_contain_text("2 of 4")


async def test_a_refused_axis_is_marked(server, tab: Tab):
    page = tab.page
    await tab.open(server.url)
    await open_axes(page, "a quick fox")
    await page.locator("#axis-values-1").fill("")
    await page.locator("#axis-values-1").press("Enter")
    await expect(page.locator("#axis-values-1")).to_have_attribute("aria-invalid", "true")

    await page.locator("#axis-values-1").fill("quick, slow")
    await page.locator("#axis-values-0").fill("0")
    await page.locator("#axis-values-0").press("Enter")
    await expect(page.locator("#axis-values-0")).to_have_attribute("aria-invalid", "true")
    await expect(page.locator("#axis-values-1")).not_to_have_attribute("aria-invalid", "true")
