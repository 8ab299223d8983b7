"""The viewer: one picture by its address or above the gallery, by keys, mouse and touch."""

import re

import pytest
from playwright.async_api import Page, expect

from bot.safety import SafetySettings
from tests.web.api_client import ask, imagine, job_of, make, upload, wait_for
from tests.web.conftest import open_client
from tests.web.page.conftest import find_violations, measure_layout_shift

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]
BLUR = re.compile("blur")


def button(page: Page, name: str):
    return page.get_by_role("button", name=name, exact=True)


async def test_a_link_shows_the_picture_with_everything_that_is_known(server, client, tab):
    job = await make(client, imagine("a red fox", count=4, style="ink", negative_prompt="fog", sampler="ddim", seed=7))
    await tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
    await tab.open(server.url, f"/p/{job['id']}/2")

    facts = tab.page.get_by_role("region", name="Facts")
    for text in ("ink", "fog", "paint", "Seed", "8", "ddim", "64 × 64", "Page or API"):
        await expect(facts).to_contain_text(text)
    await expect(tab.page.get_by_role("heading", name="a red fox, picture 2 of 4")).to_be_attached()
    await expect(tab.page.locator(".viewer-words")).to_have_text("a red fox")
    await expect(tab.page.locator(".viewer-full")).to_have_class(re.compile("viewer-loaded"))
    await expect(tab.page).to_have_title("a red fox, picture 2 of 4 · Easel")
    assert await find_violations(tab.page) == []
    assert await measure_layout_shift(tab.page) < 0.02
    await button(tab.page, "Copy all").click()
    await expect(tab.page.locator(".toast")).to_contain_text("Copied.")
    assert "Seed: 8" in await tab.page.evaluate("navigator.clipboard.readText()")
    await button(tab.page, "Copy").click()
    await expect(tab.page.locator(".toast").last).to_contain_text("Picture copied.")

    await tab.page.get_by_role("link", name="Picture 4").click()

    await expect(tab.page).to_have_url(re.compile(f"/p/{job['id']}/4$"))
    await expect(facts).to_contain_text("10")
    async with tab.page.expect_download() as download:
        await tab.page.keyboard.press("d")
    assert (await download.value).suggested_filename.endswith(".png")
    assert tab.errors == []


async def test_a_long_prompt_is_scrolled_by_keys(server, client, phone):
    job = await make(client, imagine("a red fox in the snow, " * 40))
    await phone.open(server.url, f"/p/{job['id']}/1")
    words = phone.page.locator(".viewer-words p")
    await expect(words).to_contain_text("a red fox")

    await words.press("ArrowDown")
    await expect(words).not_to_have_js_property("scrollTop", 0)
    assert await find_violations(phone.page) == []


async def test_a_note_about_demo_models_leads_admins_to_the_models(server, client, tab):
    server.usecases.models.remove_model("paint")
    job = await make(client, imagine("a red fox"))
    await tab.open(server.url, f"/p/{job['id']}/1")
    notes = tab.page.locator(".viewer-facts > div", has_text="Notes")

    await expect(notes.locator("span")).to_have_text(re.compile(r"your installation\.\s+Choose a real model\s*$"))
    await expect(notes.get_by_role("link", name="Choose a real model")).to_have_attribute("href", "/models")
    assert await find_violations(tab.page) == []
    await tab.page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=server.url)
    await notes.get_by_role("button", name="Copy").click()
    await expect(tab.page.locator(".toast")).to_contain_text("Copied.")
    assert (await tab.page.evaluate("navigator.clipboard.readText()")).endswith("to verify your installation.")


async def test_keys_lead_through_the_gallery_and_back_to_the_tile(server, client, tab):
    jobs = [await make(client, imagine(title)) for title in ("a red fox", "a blue whale", "a green frog")]
    await tab.open(server.url, "/gallery")
    await tab.page.get_by_role("link", name="a green frog").focus()
    await tab.page.keyboard.press("Enter")
    viewer = tab.page.get_by_role("dialog", name="Picture")
    await expect(viewer.get_by_role("heading", name="a green frog")).to_be_focused()
    assert await find_violations(tab.page) == []

    await tab.page.keyboard.press("ArrowRight")
    await expect(viewer.locator(".viewer-words")).to_have_text("a blue whale")
    await tab.page.keyboard.press("End")
    await expect(viewer.locator(".viewer-words")).to_have_text("a red fox")
    await tab.page.keyboard.press("Home")
    await tab.page.keyboard.press("ArrowLeft")
    await expect(viewer.locator(".viewer-words")).to_have_text("a green frog")
    await tab.page.keyboard.press("ArrowRight")
    await expect(viewer.locator(".viewer-words")).to_have_text("a blue whale")
    await tab.page.keyboard.press("f")
    await expect(button(tab.page, "Favourite")).to_have_attribute("aria-pressed", "true")
    await tab.page.keyboard.press("Delete")
    await expect(viewer.locator(".viewer-words")).to_have_text("a red fox")
    await tab.page.keyboard.press("z")
    await expect(viewer.locator(".viewer-words")).to_have_text("a blue whale")
    await tab.page.keyboard.press("Escape")

    await expect(viewer).to_have_count(0)
    await expect(tab.page).to_have_url(re.compile("/gallery$"))
    await expect(tab.page.get_by_role("link", name="a blue whale")).to_be_focused()
    assert (await job_of(client, jobs[1]["id"]))["result"]["media"][0]["favourite"]
    assert tab.errors == []


async def test_questions_stay_with_the_picture(server, client, tab):
    job = await make(client)
    await tab.open(server.url, f"/p/{job['id']}/1")
    await tab.page.get_by_label("Ask about this picture").fill("what is this")
    await tab.page.keyboard.press("Enter")

    thread = tab.page.get_by_role("region", name="Questions")
    await expect(thread).to_contain_text("It is what is this")
    await expect(tab.page.get_by_label("Ask about this picture")).to_have_value("")
    await tab.page.reload()
    await expect(thread).to_contain_text("It is what is this")
    await button(tab.page, "Ask").click()
    await expect(thread.get_by_role("alert")).to_contain_text("Type a question first.")
    await button(tab.page, "Caption").click()
    await expect(thread.get_by_role("term").filter(has_text="Caption")).to_be_visible()
    assert await find_violations(tab.page) == []
    assert tab.errors == []


async def test_a_variation_and_an_earlier_picture_are_linked_and_compared(server, client, tab):
    first = await make(client, imagine("a red fox", seed=7))
    body = imagine("a blue fox", seed=8) | {"images": [first["result"]["media"][0]["id"]], "parent": first["id"]}
    second = await make(client, body)
    await tab.open(server.url, f"/p/{second['id']}/1")
    related = tab.page.get_by_role("region", name="Related pictures")
    await expect(related.get_by_role("link", name="a red fox")).to_be_visible()

    await tab.page.keyboard.press("c")
    slider = tab.page.get_by_label("Comparison slider")
    await slider.focus()
    await tab.page.keyboard.press("ArrowRight")
    await expect(slider).to_have_value("51")
    assert await find_violations(tab.page) == []
    await tab.page.keyboard.press("Escape")
    await expect(slider).to_have_count(0)
    await related.get_by_role("link", name="a red fox").click()
    await expect(tab.page.locator(".viewer-words")).to_have_text("a red fox")
    await tab.page.keyboard.press("v")

    await expect(related.get_by_role("link", name="a red fox")).to_be_visible()
    newest = (await client.get("/api/v1/jobs")).json()["jobs"][0]
    assert (newest["parent"], newest["options"]["prompt"]) == (first["id"], "a red fox")
    assert newest["result"]["seed"] != 7
    await button(tab.page, "Upscale").click()
    await expect(tab.page.locator(".toast").last).to_be_visible()
    assert tab.errors == []


async def test_a_picture_is_reused_or_started_from(server, client, tab):
    job = await make(client, imagine("a red fox", seed=7))
    await tab.open(server.url, f"/p/{job['id']}/1")
    await tab.page.locator("summary", has_text="Reuse").click()
    assert await find_violations(tab.page) == []

    async with tab.page.expect_request(re.compile(f"/jobs/{job['id']}/recipe")):
        await button(tab.page, "Everything except the seed").click()

    await tab.open(server.url, f"/p/{job['id']}/1")
    await button(tab.page, "Edit").click()
    await expect(tab.page).to_have_url(re.compile(f"/edit/{job['result']['media'][0]['id']}"))


@pytest.mark.parametrize("path", ["/p/aaaaaaaaaaaaaaaa/1", "/p/!!/x"])
async def test_a_dead_link_leads_to_the_gallery(server, tab, path):
    await tab.open(server.url, path)

    await expect(tab.page.get_by_role("heading", name="This picture does not exist", level=2)).to_be_visible()
    await expect(tab.page.get_by_role("link", name="Open the gallery")).to_be_visible()
    assert await find_violations(tab.page) == []


async def test_another_persons_picture_does_not_exist(server, tab):
    [ada, bob] = [await server.create_key(name) for name in ("Ada", "Bob")]
    async with open_client(server) as client:
        client.headers["Authorization"] = f"Bearer {ada}"
        job = await make(client)
    await tab.page.goto(f"{server.url}/p/{job['id']}/1")
    await tab.sign_in(bob)

    await expect(tab.page.get_by_role("heading", name="This picture does not exist", level=2)).to_be_visible()
    assert await find_violations(tab.page) == []


async def test_deleted_missing_failed_and_unfinished_pictures_are_told_apart(server, client, tab):
    job = await make(client, imagine(count=2))
    await client.delete(f"/api/v1/jobs/{job['id']}/pictures/2")
    failed = await wait_for(client, (await ask(client, imagine("fail here")))["id"], "failed")
    slow = await ask(client, imagine("slow fox"))
    for path, text in (
        (f"{job['id']}/2", "This picture was deleted"),
        (f"{job['id']}/3", "This request made fewer pictures."),
        (f"{failed['id']}/1", "This request produced no picture"),
        (f"{slow['id']}/1", "Step 2"),
    ):
        await tab.open(server.url, f"/p/{path}")
        await expect(tab.page.locator(".viewer")).to_contain_text(text)
        assert await find_violations(tab.page) == []
    server.pool.go_on.set()
    await expect(tab.page.locator(".viewer-full")).to_be_visible()
    assert tab.errors == []


async def test_an_answer_shows_its_photo_and_thread(server, client, tab, a_picture):
    photo = (await upload(client, a_picture))["id"]
    answer = await make(client, {"command": "ask", "options": {"question": "what is it?"}, "images": [photo]})
    await tab.open(server.url, f"/p/{answer['id']}/1")

    await expect(tab.page.get_by_role("region", name="Questions")).to_contain_text("It is what is it?")
    await expect(tab.page.get_by_role("img", name="Picture the question is about")).to_be_visible()
    assert await find_violations(tab.page) == []
    assert tab.errors == []


async def test_zoom_by_wheel_double_click_and_keys(server, client, tab):
    job = await make(client)
    await tab.open(server.url, f"/p/{job['id']}/1")
    stage = tab.page.locator(".viewer-stage")
    await expect(tab.page.locator(".viewer-loaded")).to_be_visible()
    await stage.hover()

    await tab.page.mouse.wheel(0, -400)
    await expect(stage).to_have_class(re.compile("viewer-zoomed"))
    await tab.page.mouse.down()
    await tab.page.mouse.move(600, 400)
    await tab.page.mouse.up()
    await tab.page.keyboard.press("0")
    await expect(stage).not_to_have_class(re.compile("viewer-zoomed"))
    await stage.dblclick()
    await expect(stage).to_have_class(re.compile("viewer-zoomed"))
    await tab.page.keyboard.press("Escape")

    await expect(stage).not_to_have_class(re.compile("viewer-zoomed"))
    await expect(tab.page).to_have_url(re.compile("/p/"))
    assert tab.errors == []


async def swipe(page: Page, *paths: list[tuple[int, int]]) -> None:
    """One finger for each path."""
    session = await page.context.new_cdp_session(page)
    for step, kind in enumerate(("touchStart", "touchMove", "touchMove", "touchEnd")):
        places = [path[min(step, 2)] for path in paths] if kind != "touchEnd" else []
        points = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(places)]
        await session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    await session.detach()


async def test_on_a_phone_one_swipes_and_pinches(server, client, phone):
    for title in ("a red fox", "a blue whale"):
        await make(client, imagine(title))
    await phone.open(server.url, "/gallery")
    await phone.page.get_by_role("link", name="a blue whale").tap()
    words = phone.page.locator(".viewer-words")
    await expect(words).to_have_text("a blue whale")
    await expect(phone.page.locator(".viewer-loaded")).to_be_visible()
    assert await find_violations(phone.page) == []
    assert await phone.page.evaluate("document.querySelector('.overlay').scrollWidth") <= 390
    small = ".viewer :is(button, summary, input):not([hidden])"
    sizes = [await one.bounding_box() for one in await phone.page.locator(small).all()]
    assert [box for box in sizes if box and (box["height"] < 43.5 or box["width"] < 43.5)] == []

    await swipe(phone.page, [(300, 300), (200, 302), (100, 303)])
    await expect(words).to_have_text("a red fox")
    await expect(phone.page.locator(".viewer-loaded")).to_be_visible()
    await swipe(phone.page, [(100, 300), (200, 302), (300, 303)])
    await expect(words).to_have_text("a blue whale")
    await expect(phone.page.locator(".viewer-loaded")).to_be_visible()
    await swipe(phone.page, [(180, 300), (120, 300), (60, 300)], [(220, 300), (280, 300), (340, 300)])
    await expect(phone.page.locator(".viewer-stage")).to_have_class(re.compile("viewer-zoomed"))
    await phone.page.get_by_role("button", name="Back").click()
    await expect(phone.page.locator(".overlay")).to_have_count(0)
    assert phone.errors == []


async def test_a_spoiler_is_blurred_wherever_it_is_seen(server, client, tab):
    server.usecases.moderation.settings = SafetySettings(local_policy="spoiler")
    job = await make(client, imagine("a nude statue", count=2))
    photo = job["result"]["media"][0]["id"]
    await make(client, {"command": "ask", "options": {"question": "what is it?"}, "images": [photo]})
    page = tab.page
    await tab.open(server.url, "/")
    await expect(page.locator(".answers-thread img")).to_have_css("filter", BLUR)
    await page.goto(f"{server.url}/gallery")
    await expect(page.locator(".gallery-photo")).to_have_css("filter", BLUR)

    await page.goto(f"{server.url}/p/{job['id']}/1")
    seen = page.locator(".viewer-strip img")
    await expect(seen).to_have_count(2)
    for number in range(2):
        await expect(seen.nth(number)).to_have_css("filter", BLUR)
    await page.keyboard.press("c")
    for number in range(2):
        await expect(page.locator(".comparing-pair img").nth(number)).to_have_css("filter", BLUR)
    await page.keyboard.press("Escape")
    await button(page, "Show this picture").click()

    await expect(seen.first).to_have_css("filter", "none")
    await expect(seen.last).to_have_css("filter", BLUR)
    assert tab.errors == []
