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
    width = await page.evaluate("document.documentElement.scrollWidth")

    assert (in_editor, await find_violations(page), width) == ([], [], 390)
    await page.goto(f"{server.url}/grid/{'a' * 16}")
    await expect(page.get_by_role("heading", name="This grid does not exist")).to_be_visible()
    assert [one for one in phone.errors if "404" not in one] == []
