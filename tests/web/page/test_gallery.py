"""The gallery: search, filters, selection, what is done with several pictures, what arrives meanwhile."""

import asyncio
import re

import pytest
from playwright.async_api import Page, expect

from tests.web.api_client import ask, imagine, job_of, make, upload, wait_for
from tests.web.page.conftest import find_violations, measure_layout_shift

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]
NOTE_SENT = """() => {
  const send = window.fetch;
  window.fetch = (url, options) => {
    if (options?.keepalive) localStorage.sent = `${localStorage.sent ?? ""}${url} `;
    return send(url, options);
  };
}"""

TITLES = ("a red fox", "a blue whale", "a green frog", "a red boat")


async def make_some(client, titles=TITLES):
    """Oldest first, so the gallery shows them in reverse order."""
    return [await make(client, imagine(title)) for title in titles]


def tile(page: Page, name: str):
    return page.locator(".gallery-tile").filter(has=page.get_by_role("img", name=name, exact=True))


def link(page: Page, name: str):
    return page.get_by_role("link", name=name)


async def names(page: Page) -> list[str]:
    return await page.locator(".gallery-tile a img").evaluate_all("all => all.map((image) => image.alt)")


async def test_an_empty_gallery_says_how_to_begin(server, tab):
    await tab.open(server.url, "/gallery")

    await expect(tab.page.get_by_role("heading", name="Your gallery is empty")).to_be_visible()
    await expect(tab.page.get_by_role("link", name="Create your first picture")).to_have_attribute("href", "/")
    assert await find_violations(tab.page) == []
    assert tab.errors == []


async def test_a_list_that_cannot_be_loaded_is_offered_again(server, client, tab):
    await make_some(client, ["a red fox"])
    answer = {"status": 503, "json": {"code": "busy", "detail": "The database is busy."}}
    await tab.page.route(re.compile(r"/jobs\?limit=60"), lambda route: route.fulfill(**answer))
    await tab.open(server.url, "/gallery")
    await expect(tab.page.get_by_role("alert")).to_contain_text("The database is busy.")
    assert await find_violations(tab.page) == []
    await tab.page.unroute_all()

    await tab.page.get_by_role("button", name="Try again").click()

    await expect(link(tab.page, "a red fox")).to_be_visible()


async def test_search_and_filters_are_in_the_address_with_their_count(server, client, tab):
    jobs = await make_some(client)
    await client.put(f"/api/v1/jobs/{jobs[1]['id']}/pictures/1/favourite")
    await tab.open(server.url, "/gallery")
    await expect(tab.page.locator(".gallery-count")).to_have_text("4 results")
    assert await names(tab.page) == ["a red boat", "a green frog", "a blue whale", "a red fox"]
    await expect(tab.page.get_by_role("heading", name="Today")).to_be_visible()
    assert await find_violations(tab.page) == []

    await tab.page.keyboard.press("/")
    await tab.page.keyboard.type("red")

    await expect(tab.page.locator(".gallery-count")).to_have_text("2 matches")
    await expect(tab.page).to_have_url(re.compile(r"/gallery\?q=red$"))
    assert await names(tab.page) == ["a red boat", "a red fox"]
    await tab.page.reload()
    await expect(tab.page.get_by_label("Search")).to_have_value("red")
    await expect(tab.page.locator(".gallery-count")).to_have_text("2 matches")
    await tab.page.get_by_role("button", name="Favourites").click()
    await expect(tab.page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    assert await find_violations(tab.page) == []
    await tab.page.get_by_role("button", name="Clear filters").click()
    await expect(tab.page.locator(".gallery-count")).to_have_text("4 results")
    await tab.page.get_by_role("button", name="Favourites").click()
    await expect(tab.page).to_have_url(re.compile(r"\?favourite=true$"))
    await expect(tab.page.locator(".gallery-tile")).to_have_count(1)
    await tab.page.get_by_role("combobox", name="Model").select_option("paint")
    await tab.page.get_by_label("Kind").select_option("imagine")
    await expect(tab.page).to_have_url(re.compile("favourite=true&model=paint&command=imagine"))
    assert tab.errors == []


async def test_a_search_shows_words_at_first_and_then_what_pictures_show_best_first(server, client, tab):
    fox, whale, *_ = await make_some(client)
    first = {"jobs": [fox], "next": None, "total": 1, "refined": False}
    final = {"jobs": [whale, fox], "next": None, "total": 2, "refined": True}
    may_refine = asyncio.Event()

    async def answer(route):
        is_refined = "refine=true" in route.request.url
        if is_refined:
            await may_refine.wait()
        await route.fulfill(json=final if is_refined else first)

    await tab.page.route(re.compile("meaning=true"), answer)
    await tab.open(server.url, "/gallery?q=animal")
    await expect(tab.page.get_by_role("heading", name="Best matches")).to_be_visible()
    assert await names(tab.page) == ["a red fox"]
    may_refine.set()

    await expect(link(tab.page, "a blue whale")).to_be_visible()
    assert await names(tab.page) == ["a blue whale", "a red fox"]
    await expect(tab.page.locator(".gallery-count")).to_have_text("2 matches")
    assert await find_violations(tab.page) == []
    assert tab.errors == []


async def test_the_final_order_of_a_search_moves_nothing_away_from_the_focus(server, client, tab):
    fox, whale, *_ = await make_some(client)
    may_refine = asyncio.Event()

    async def answer(route):
        is_refined = "refine=true" in route.request.url
        if is_refined:
            await may_refine.wait()
        found = [whale, fox] if is_refined else [fox]
        await route.fulfill(json={"jobs": found, "next": None, "total": len(found), "refined": is_refined})

    await tab.page.route(re.compile("meaning=true"), answer)
    await tab.open(server.url, "/gallery?q=animal")
    await link(tab.page, "a red fox").focus()
    may_refine.set()

    await expect(link(tab.page, "a blue whale")).to_be_visible()
    assert await names(tab.page) == ["a red fox", "a blue whale"]
    await expect(link(tab.page, "a red fox")).to_be_focused()


async def test_while_pictures_are_looked_for_it_does_not_say_that_nothing_matches(server, client, tab):
    await make_some(client, ["a red fox"])
    may_refine = asyncio.Event()

    async def answer(route):
        if "refine=true" in route.request.url:
            await may_refine.wait()
        await route.fulfill(json={"jobs": [], "next": None, "total": 0, "refined": may_refine.is_set()})

    await tab.page.route(re.compile("meaning=true"), answer)
    await tab.open(server.url, "/gallery?q=animal")
    await expect(tab.page.locator(".gallery-count")).to_have_text("Loading\u2026")
    await expect(tab.page.get_by_text("Nothing matches")).to_have_count(0)
    may_refine.set()

    await expect(tab.page.get_by_text("Nothing matches")).to_be_visible()


async def test_answers_and_failures_have_tiles(server, client, tab, a_picture):
    photo = (await upload(client, a_picture))["id"]
    await make(client, {"command": "ask", "options": {"question": "what is it?"}, "images": [photo]})
    failed = await ask(client, imagine("fail here"))
    await wait_for(client, failed["id"], "failed")

    await tab.open(server.url, "/gallery")
    await expect(link(tab.page, "what is it?")).to_contain_text("It is what is it?")
    await expect(tab.page.locator(".gallery-tile")).to_have_count(1)
    await tab.page.get_by_label("State").select_option("failed")

    await expect(link(tab.page, "fail here")).to_contain_text("Something went wrong")
    assert await find_violations(tab.page) == []
    assert tab.errors == []


async def test_the_grid_is_one_tab_stop_and_arrow_keys_move_in_it(server, client, tab):
    await make_some(client)
    await tab.open(server.url, "/gallery")
    await expect(link(tab.page, "a red boat")).to_be_visible()
    assert await tab.page.locator(".gallery-grid [tabindex='0']").count() == 1
    await tab.page.get_by_role("button", name="Select", exact=True).focus()
    await tab.page.keyboard.press("Tab")
    await expect(link(tab.page, "a red boat")).to_be_focused()
    await tab.page.keyboard.press("ArrowRight")
    await expect(link(tab.page, "a green frog")).to_be_focused()
    await tab.page.keyboard.press("End")
    await expect(link(tab.page, "a red fox")).to_be_focused()
    await tab.page.keyboard.press("Home")
    await expect(link(tab.page, "a red boat")).to_be_focused()

    await tab.page.keyboard.press("Shift+ArrowRight")
    await tab.page.keyboard.press("Shift+ArrowRight")

    await expect(tab.page.locator(".gallery-selected")).to_have_text("3 selected")
    assert await find_violations(tab.page) == []
    await tab.page.keyboard.press("Escape")
    await expect(tab.page.locator(".gallery-selected")).to_have_count(0)
    await tab.page.keyboard.press("Control+a")
    await expect(tab.page.locator(".gallery-selected")).to_have_text("4 selected")
    await tab.page.keyboard.press("Escape")
    await tab.page.keyboard.press("Enter")
    await expect(tab.page).to_have_url(re.compile("/p/"))
    assert tab.errors == []


async def test_favourite_and_delete_with_undo_by_one_key_each(server, client, tab):
    jobs = await make_some(client, TITLES[:3])
    await tab.open(server.url, "/gallery")
    await link(tab.page, "a blue whale").focus()

    await tab.page.keyboard.press("f")

    await expect(tile(tab.page, "a blue whale").get_by_role("img", name="Favourite")).to_be_visible()
    await expect(link(tab.page, "a blue whale")).to_be_focused()
    await tab.page.keyboard.press("Delete")
    await expect(link(tab.page, "a blue whale")).to_have_count(0)
    await expect(link(tab.page, "a red fox")).to_be_focused()
    await tab.page.keyboard.press("z")
    await expect(link(tab.page, "a blue whale")).to_be_focused()
    assert (await job_of(client, jobs[1]["id"]))["result"]["media"][0]["favourite"]
    await tab.page.keyboard.press("Delete")
    await tab.page.get_by_role("button", name="Close this message").click()
    await expect(tab.page.locator(".gallery-count")).to_have_text("2 results")
    assert (await client.get(f"/api/v1/jobs/{jobs[1]['id']}")).status_code == 404
    assert tab.errors == []


async def test_deletions_are_sent_in_one_request_when_the_page_is_closed(server, client, tab):
    jobs = await make_some(client, ["a red fox", "a blue whale"])
    several = await make(client, imagine("a green frog", count=2))
    await tab.open(server.url, "/gallery")
    await tab.page.evaluate(NOTE_SENT)
    await link(tab.page, "a green frog, picture 1 of 2").hover()
    await tab.page.keyboard.press("Control+a")
    await tab.page.get_by_role("button", name="Select a green frog, picture 2 of 2").click()
    await tab.page.keyboard.press("Delete")
    await expect(tab.page.locator(".gallery-tile")).to_have_count(1)

    await tab.leave()

    path = f"/api/v1/jobs/{several['id']}"
    async with asyncio.timeout(5):
        while None not in (left := (await client.get(path)).json()["result"]["media"]):  # noqa: ASYNC110 - it is polled
            await asyncio.sleep(0.02)
    assert left[1]
    assert (await client.get("/api/v1/jobs")).json()["total"] == 1
    assert (await client.get(f"/api/v1/jobs/{jobs[0]['id']}")).status_code == 404
    await tab.page.goto(f"{server.url}/queue")
    assert await tab.page.evaluate("localStorage.sent") == "/api/v1/erase "


async def test_one_picture_of_four_is_deleted_alone(server, client, tab):
    job = await make(client, imagine("a red fox", count=4))
    await tab.open(server.url, "/gallery")
    await link(tab.page, "a red fox, picture 2 of 4").focus()

    await tab.page.keyboard.press("Delete")
    await tab.page.get_by_role("button", name="Close this message").click()

    await expect(tab.page.locator(".toast")).to_have_count(0)
    await expect(tab.page.locator(".gallery-tile")).to_have_count(3)
    async with tab.page.expect_response(re.compile("/jobs")):
        await tab.page.reload()
    await expect(tab.page.locator(".gallery-tile")).to_have_count(3)
    media = (await job_of(client, job["id"]))["result"]["media"]
    assert [one is None for one in media] == [False, True, False, False]


async def test_a_selection_by_mouse_is_downloaded_as_a_zip(server, client, tab):
    await make_some(client)
    await tab.open(server.url, "/gallery")
    await tile(tab.page, "a red boat").hover()
    await tab.page.get_by_role("button", name="Select a red boat").click()
    await tile(tab.page, "a blue whale").click(modifiers=["Shift"])
    await expect(tab.page.locator(".gallery-selected")).to_have_text("3 selected")
    await link(tab.page, "a green frog").click()
    await expect(tab.page.locator(".gallery-selected")).to_have_text("2 selected")

    async with tab.page.expect_download() as download:
        await tab.page.get_by_role("button", name="Download").click()

    assert (await download.value).suggested_filename == "easel.zip"
    await expect(tab.page.locator(".gallery-selected")).to_have_count(0)
    assert tab.errors == []


async def test_collections_are_filled_opened_renamed_and_deleted(server, client, tab):
    await make_some(client)
    await tab.open(server.url, "/gallery")
    await tile(tab.page, "a red fox").hover()
    await tab.page.get_by_role("button", name="Select a red fox").click()
    await tab.page.get_by_role("button", name="Collect").click()
    dialog = tab.page.get_by_role("dialog")
    await dialog.get_by_label("New collection").fill("Red things")
    await dialog.get_by_role("button", name="Create").click()
    await expect(tab.page.locator(".toast")).to_contain_text("Added to the collection.")
    await tab.page.get_by_role("button", name="Manage collections").click()
    assert await find_violations(tab.page) == []
    await dialog.get_by_role("button", name="Rename Red things").click()
    await dialog.get_by_label("Name").fill("Red ones")
    await dialog.get_by_role("button", name="Rename").click()

    await dialog.get_by_role("button", name=re.compile("^Red ones")).click()

    await expect(tab.page).to_have_url(re.compile(r"\?collection=\w{16}$"))
    await expect(tab.page.locator(".gallery-tile")).to_have_count(1)
    await tab.page.keyboard.press("Control+a")
    await tab.page.get_by_role("button", name="Remove from the collection").click()
    await expect(tab.page.locator(".gallery-tile")).to_have_count(0)
    await tab.page.get_by_role("button", name="Manage collections").click()
    await dialog.get_by_role("button", name="Delete Red ones").click()
    await tab.page.get_by_role("dialog", name="Delete the collection?").get_by_role("button", name="Delete").click()
    await expect(dialog.get_by_text("No collections yet.")).to_be_visible()
    assert (await client.get("/api/v1/collections")).json()["total"] == 0
    assert tab.errors == []


async def test_what_arrives_moves_nothing_that_is_looked_at(server, client, tab):
    await make_some(client, [f"an owl {number}" for number in range(12)])
    await tab.page.set_viewport_size({"width": 500, "height": 400})
    await tab.open(server.url, "/gallery")
    await expect(link(tab.page, "an owl 11")).to_be_visible()
    await tab.page.evaluate("window.scrollTo(0, 700)")
    await expect(link(tab.page, "an owl 11")).not_to_be_in_viewport()
    seen = tab.page.locator(".gallery-tile").nth(4)
    key = await seen.get_attribute("data-key")
    before = await tab.page.locator(f"[data-key='{key}']").bounding_box()

    await make(client, imagine("a new one"))

    await expect(tab.page.get_by_role("button", name="1 new")).to_be_visible()
    assert await tab.page.locator(f"[data-key='{key}']").bounding_box() == before
    assert await find_violations(tab.page) == []
    await tab.page.get_by_role("button", name="1 new").click()
    await expect(link(tab.page, "a new one")).to_be_in_viewport()
    await expect(tab.page.locator(".gallery-count")).to_have_text("13 results")
    await tab.page.set_viewport_size({"width": 1440, "height": 900})
    assert tab.errors == []


async def test_what_is_deleted_elsewhere_goes_and_the_rest_stays_in_its_place(server, client, tab):
    jobs = await make_some(client, [f"an owl {number}" for number in range(12)])
    await tab.page.set_viewport_size({"width": 500, "height": 400})
    await tab.open(server.url, "/gallery")
    await expect(link(tab.page, "an owl 11")).to_be_visible()
    await tab.page.evaluate("window.scrollTo(0, 900)")
    await expect(link(tab.page, "an owl 11")).not_to_be_in_viewport()
    key = await tab.page.evaluate("document.elementFromPoint(100, 250).closest('[data-key]').dataset.key")
    before = (await tab.page.locator(f"[data-key='{key}']").bounding_box())["y"]

    for job in jobs[-2:]:
        await client.delete(f"/api/v1/jobs/{job['id']}?erase=true")

    await expect(tab.page.locator(".gallery-count")).to_have_text("10 results")
    assert abs((await tab.page.locator(f"[data-key='{key}']").bounding_box())["y"] - before) <= 1
    await tab.page.set_viewport_size({"width": 1440, "height": 900})


async def test_the_density_changes_the_rows_and_is_kept(server, client, tab):
    await make_some(client, [f"an owl {number}" for number in range(8)])
    await tab.open(server.url, "/gallery")
    slider = tab.page.get_by_label("Thumbnail size")
    await expect(slider).to_have_value("3")
    wide = (await tab.page.locator(".gallery-tile").first.bounding_box())["width"]

    await slider.fill("0")

    await tab.page.reload()
    await expect(slider).to_have_value("0")
    assert await first_width(tab.page) < wide / 2
    await slider.fill("3")


async def first_width(page: Page) -> float:
    await expect(page.locator(".gallery-tile").first).to_be_visible()
    box = await page.locator(".gallery-tile").first.bounding_box()
    assert box is not None
    return box["width"]


async def test_on_a_phone_a_long_touch_selects_and_filters_are_in_a_sheet(server, client, phone):
    await make_some(client, [f"an owl {number}" for number in range(9)])
    await phone.open(server.url, "/gallery")
    await expect(link(phone.page, "an owl 8")).to_be_visible()
    boxes = [await one.bounding_box() for one in await phone.page.locator(".gallery-tile").all()]
    assert sum(box["y"] + box["height"] / 2 < 844 - 56 for box in boxes) >= 6
    assert await phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert await measure_layout_shift(phone.page) < 0.02
    assert await find_violations(phone.page) == []

    touch = {"pointerType": "touch", "bubbles": True}
    await tile(phone.page, "an owl 8").dispatch_event("pointerdown", touch)
    await expect(phone.page.locator(".gallery-selected")).to_have_text("1 selected")
    await link(phone.page, "an owl 7").tap()

    await expect(phone.page.locator(".gallery-selected")).to_have_text("2 selected")
    assert await find_violations(phone.page) == []
    buttons = [await one.bounding_box() for one in await phone.page.locator(".gallery-bar button").all()]
    assert [box for box in buttons if box["width"] < 44 or box["height"] < 44] == []
    await phone.page.get_by_role("button", name="Clear selection").tap()
    await phone.page.get_by_role("button", name="Filters").tap()
    sheet = phone.page.get_by_role("dialog", name="Filters")
    await sheet.get_by_label("Kind").select_option("ask")
    await expect(phone.page.get_by_text("Nothing matches")).to_be_visible()
    assert await find_violations(phone.page) == []
    assert phone.errors == []


async def test_going_back_shows_the_same_place(server, client, tab):
    await make_some(client, [f"an owl {number}" for number in range(12)])
    await tab.page.set_viewport_size({"width": 500, "height": 400})
    await tab.open(server.url, "/gallery")
    await expect(link(tab.page, "an owl 11")).to_be_visible()
    await tab.page.evaluate("window.scrollTo(0, 700)")
    await expect(link(tab.page, "an owl 11")).not_to_be_in_viewport()
    place = await tab.page.evaluate("window.scrollY")
    await tab.page.get_by_role("link", name="Models").click()
    await expect(tab.page.get_by_role("heading", name="Models")).to_be_visible()

    await tab.page.go_back()

    assert place > 300
    await tab.page.wait_for_function("(place) => window.scrollY === place", arg=place)
    await expect(tab.page.locator(".gallery-count")).to_have_text("12 results")
    await tab.page.set_viewport_size({"width": 1440, "height": 900})
    assert tab.errors == []
