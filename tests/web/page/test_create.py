"""Create: the composer and the newest results, with the mouse, by the keyboard and on a phone."""

import asyncio
import io
import re
from dataclasses import replace

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.async_api import Page, expect

from bot.errors import EngineError
from bot.models import IMAGE_TEXT_TO_TEXT, ZERO_SHOT_IMAGE_CLASSIFICATION, ModelSpec
from bot.safety import SafetySettings
from tests.web.api_client import imagine, make
from tests.web.fake_pool import picture
from tests.web.page.conftest import PHONE, Tab, find_violations, measure_layout_shift

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]

DROP = """async ([name, types, count]) => {
  const transfer = new DataTransfer();
  for (let number = 0; number < count; number += 1) {
    const canvas = Object.assign(document.createElement("canvas"), { width: 8 + number, height: 8 });
    canvas.getContext("2d").fillRect(0, 0, 4, 4);
    const blob = await new Promise((resolve) => canvas.toBlob(resolve));
    transfer.items.add(new File([blob], `photo-${number}.png`, { type: types }));
  }
  const general = { bubbles: true, cancelable: true };
  const event = name === "paste" ? new ClipboardEvent("paste", { clipboardData: transfer, ...general })
    : new DragEvent(name, { dataTransfer: transfer, ...general });
  document.body.dispatchEvent(event);
}"""
COUNT_VISIBLE = """(bottom) => [...document.querySelectorAll(".create-tile")]
  .filter((one) => one.getBoundingClientRect().top + 40 < bottom).length"""


def file(name: str = "boat.png", data: bytes | None = None) -> dict[str, object]:
    return {"name": name, "mimeType": "image/png", "buffer": data or picture(3, 48, 32)}


async def choose_mode(page: Page, name: str) -> None:
    await page.locator(".create-modes label", has_text=name).click()


async def add_photo(page: Page, **given: object) -> None:
    await page.locator("#create-file").set_input_files(files=[file(**given)])  # type: ignore[arg-type]
    await expect(page.locator(".attach-photo img")).to_be_visible()


async def send(page: Page, words: str) -> None:
    await page.locator("#prompt").fill(words)
    await page.locator("#prompt").press("Enter")


def tile(page: Page, state: str = "delivered"):
    return page.locator(f'.create-tile[data-state="{state}"]')


async def drag_photos_over(page: Page) -> None:
    """Until the page has noticed: it listens soon after its first view."""
    for _ in range(100):
        await page.evaluate(DROP, ["dragover", "image/png", 1])
        if await page.locator(".extras-drop").count():
            return
        await page.wait_for_timeout(20)
    pytest.fail("nothing listens for photos")


async def open_more(page: Page) -> None:
    await page.get_by_role("button", name="More").click()
    await expect(page.get_by_role("dialog", name="More options")).to_be_visible()


async def close_dialog(page: Page) -> None:
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)


async def newest_job(client) -> dict:
    return (await client.get("/api/v1/jobs")).json()["jobs"][0]


async def test_one_click_makes_a_newcomers_first_picture(server, tab: Tab):
    await tab.open(server.url)
    await expect(tab.page.locator(".examples-item")).to_have_count(6)
    await expect(tab.page.locator(".examples-item img").first).to_have_js_property("naturalWidth", 256)
    assert await find_violations(tab.page) == []

    await tab.page.get_by_role("button", name="a tiger on a green background").click()

    image = tile(tab.page).locator(".create-picture")
    await expect(image).to_have_js_property("complete", True)
    await expect(image).to_have_css("opacity", "1")
    await expect(tab.page.locator("#prompt")).to_have_value("a tiger on a green background")
    assert tab.errors == []


async def test_a_running_job_keeps_its_place_and_becomes_its_picture(server, tab):
    await tab.open(server.url)
    await send(tab.page, "slow circle")
    running = tile(tab.page, "running")
    await expect(running).to_contain_text("Step 2 of 5")
    await expect(running.locator(".create-preview")).to_be_visible()
    await send(tab.page, "another one")
    waiting = tab.page.locator(".extras-queued", has_text="another one")
    await expect(waiting).to_contain_text("Queued at position 1")
    assert await tab.page.locator(".create-tile").count() == 1
    assert await find_violations(tab.page) == []

    await waiting.get_by_role("button", name="Cancel").click()
    await expect(tile(tab.page, "cancelled")).to_contain_text("Cancelled; you weren't charged.")
    server.pool.go_on.set()

    done = tile(tab.page)
    await expect(done.locator(".create-picture")).to_have_css("opacity", "1")
    await expect(done.locator(".create-preview")).to_have_count(1)
    await expect(tab.page.locator("#messages > [role=status]").last).to_contain_text("Done: slow circle")
    assert await find_violations(tab.page) == []
    assert tab.errors == []


async def test_a_loading_model_is_named_and_its_time_counts_down(server, tab):
    await tab.open(server.url)

    await send(tab.page, "loads")

    await expect(tile(tab.page, "running")).to_contain_text(re.compile(r"Loading the model · about 2\d s left"))
    await expect(tile(tab.page, "running")).to_contain_text(re.compile(r"about 1\d s left"), timeout=8000)


async def test_price_wait_and_tokens_are_shown_before_it_is_sent(server, tab):
    await tab.open(server.url)
    facts = tab.page.locator(".create-facts")
    await expect(facts).to_contain_text("Enter to send")
    requests: list[str] = []
    tab.page.on("request", lambda request: requests.append(request.url))

    await tab.page.locator("#prompt").type("a red fox")

    await expect(facts).to_contain_text("1 device-second")
    assert len([url for url in requests if url.endswith("/quotes")]) <= 2
    assert await measure_layout_shift(tab.page) < 0.02
    await tab.page.locator("#prompt").fill("x " * 850)
    await expect(facts).to_contain_text("1,700 of 2,000 characters")
    await tab.page.locator("#prompt").fill("")
    await expect(facts).to_contain_text("Enter to send")
    assert tab.errors == []


async def test_chips_are_sent_and_survive_a_reload(server, client, tab):
    await tab.open(server.url)
    await tab.page.locator(".create-segments label[title='Wide 16:9']").click()
    await tab.page.locator(".create-segments label[title='2']").click()
    await tab.page.locator(".create-segments label[title='Best']").click()
    await tab.page.get_by_label("Style").select_option("ink")
    await tab.page.locator("#prompt").fill("a harbour")
    await add_photo(tab.page)

    await tab.page.reload()

    await expect(tab.page.locator(".attach-photo img")).to_have_js_property("naturalWidth", 48)
    await tab.page.get_by_role("button", name="Remove picture 1").click()
    await expect(tab.page.locator("#prompt")).to_have_value("a harbour")
    await expect(tab.page.get_by_label("Style")).to_have_value("ink")
    await tab.page.locator("#prompt").press("Enter")
    await expect(tile(tab.page)).to_have_count(2)
    job = await newest_job(client)
    assert job["options"]["prompt"] == "ink drawing of a harbour"
    assert job["options"]["steps"] == 10
    assert job["options"]["width"] > job["options"]["height"]
    assert tab.errors == []


async def test_the_drawer_shows_what_the_model_takes_and_is_sent(server, client, tab):
    await tab.open(server.url)
    await open_more(tab.page)
    assert await find_violations(tab.page) == []
    await expect(tab.page.get_by_label("Denoising strength")).to_have_count(0)
    await tab.page.get_by_label("Seed", exact=True).fill("77")
    await tab.page.get_by_label("Steps").fill("4")
    await tab.page.get_by_label("Negative prompt").fill("fog")
    await tab.page.get_by_label("Sampler").select_option("ddim")
    await close_dialog(tab.page)
    await expect(tab.page.get_by_role("button", name="More")).to_be_focused()
    await expect(tab.page.locator(".create-chips")).to_contain_text("4 steps")
    await send(tab.page, "two boats")
    await expect(tile(tab.page)).to_have_count(1)

    options = (await newest_job(client))["options"]

    assert {name: options[name] for name in ("seed", "steps", "negative_prompt", "sampler")} == {
        "seed": 77, "steps": 4, "negative_prompt": "fog", "sampler": "ddim",
    }  # fmt: skip
    await open_more(tab.page)
    await tab.page.get_by_role("button", name="Shuffle the seed").click()
    await expect(tab.page.get_by_label("Seed", exact=True)).not_to_have_value("77")
    await tab.page.get_by_role("button", name="Clear: use a random seed").click()
    await expect(tab.page.get_by_label("Seed", exact=True)).to_have_value("")
    await tab.page.get_by_role("button", name="Reset to defaults").click()
    await expect(tab.page.get_by_label("Steps")).to_have_value("")
    assert tab.errors == []


async def test_a_question_is_answered_beside_its_photo_and_goes_on(server, tab):
    await tab.open(server.url)
    await choose_mode(tab.page, "Ask")
    await send(tab.page, "What is it?")
    await expect(tab.page.get_by_role("alert")).to_contain_text("Add a photo to ask about")
    await add_photo(tab.page)
    assert await find_violations(tab.page) == []

    await tab.page.locator("#prompt").press("Enter")

    thread = tab.page.locator(".answers-thread")
    await expect(thread).to_contain_text("It is What is it?")
    await expect(tab.page.locator("#prompt")).to_have_value("")
    await send(tab.page, "And its colour?")
    await expect(thread.locator(".answers-text").last).to_have_text("It is And its colour?")
    await expect(thread).to_have_count(1)
    await tab.page.get_by_role("button", name="Caption").click()
    await expect(thread.locator("[data-command=caption]")).to_contain_text("It is a picture")
    await tab.page.get_by_role("button", name="Describe").click()
    await thread.get_by_role("button", name="prompt 2").click()
    await expect(tab.page.locator("#prompt")).to_have_value("prompt 2")
    await expect(tab.page.get_by_role("radio", name="Imagine")).to_be_checked()
    assert await find_violations(tab.page) == []
    assert tab.errors == []


async def test_a_model_that_chats_answers_about_several_photos_word_by_word_and_reads_the_thread(server, client, tab):
    look = server.usecases.models.get("look")
    server.usecases.models.add_model(replace(look, tasks=(IMAGE_TEXT_TO_TEXT, *look.tasks)))
    await tab.open(server.url)
    await choose_mode(tab.page, "Ask")
    photos = [file(f"{seed}.png", picture(seed, 48, 32)) for seed in (3, 4)]
    await tab.page.locator("#create-file").set_input_files(files=photos)
    await expect(tab.page.locator(".attach-photo img")).to_have_count(2)
    await send(tab.page, "slow it is")

    thread = tab.page.locator(".answers-thread")
    await expect(thread.locator(".answers-text")).to_have_text("It is\u2026")
    server.pool.go_on.set()
    await expect(thread.locator(".answers-text")).to_have_text("It is slow it is")
    await send(tab.page, "And why?")
    await expect(thread.locator(".answers-text").last).to_have_text("It is And why?")
    await expect(thread.locator("img")).to_have_count(2)

    second, first = (await client.get("/api/v1/jobs?limit=2")).json()["jobs"]
    assert (second["parent"], len(second["images"])) == (first["id"], 2)
    assert await find_violations(tab.page) == []
    await open_more(tab.page)
    groups = tab.page.get_by_role("dialog").get_by_role("heading", level=3)
    assert await groups.all_inner_texts() == ["Answer"]
    await close_dialog(tab.page)
    await choose_mode(tab.page, "Imagine")
    await tab.page.get_by_role("button", name="More").click()
    await expect(tab.page.get_by_label("Richer prompt")).to_be_visible()
    assert tab.errors == []


async def test_an_edit_asks_for_the_part_where_no_model_follows_instructions(server, client, tab):
    await tab.open(server.url)
    await choose_mode(tab.page, "Edit")
    await send(tab.page, "a red roof")
    await expect(tab.page.get_by_role("alert")).to_contain_text("Add a photo to edit")
    await add_photo(tab.page)

    await tab.page.locator("#prompt").press("Enter")

    await expect(tab.page.get_by_role("alert")).to_contain_text("Add a mask")
    assert await find_violations(tab.page) == []
    await tab.page.get_by_role("button", name="Upscale").click()
    await expect(tile(tab.page).locator(".create-picture")).to_have_css("opacity", "1")
    assert (await newest_job(client))["result"]["media"][0]["width"] == 96
    assert tab.errors == []


async def test_a_photo_is_started_from_and_can_become_a_control(server, client, tab):
    await tab.open(server.url)
    await add_photo(tab.page)
    await tab.page.get_by_role("link", name="Paint a mask").click()
    await expect(tab.page).to_have_url(re.compile("/edit/[0-9a-f]{64}$"))
    await tab.page.go_back()
    await send(tab.page, "a boat at night")
    await expect(tile(tab.page)).to_have_count(1)
    first = await newest_job(client)
    assert (first["images"][0]["role"], first["options"]["strength"]) == ("init", 0.6)

    await tab.page.get_by_label("Role of picture 1").select_option("control")
    await expect(tab.page.get_by_label("Type of picture 1")).to_have_value("canny")
    await open_more(tab.page)
    await tab.page.get_by_label("Weight").fill("0.5")
    await tab.page.get_by_label("End").fill("0.8")
    assert await find_violations(tab.page) == []
    await close_dialog(tab.page)
    await tab.page.locator("#prompt").press("Enter")

    await expect(tile(tab.page)).to_have_count(2)
    [image] = (await newest_job(client))["images"]
    assert (image["role"], image["kind"], image["weight"], image["end"]) == ("control", "canny", 0.5, 0.8)
    assert tab.errors == []


async def test_photos_are_dropped_and_pasted_anywhere_and_many_get_one_sentence(server, tab):
    await tab.open(server.url)
    await drag_photos_over(tab.page)
    await expect(tab.page.locator(".extras-drop")).to_be_visible()

    await tab.page.evaluate(DROP, ["drop", "image/png", 30])

    await expect(tab.page.locator(".attach-photo img")).to_have_count(1)
    await expect(tab.page.locator(".create-note")).to_have_text(
        "Only 1 of 30 pictures were added: the limit is reached."
    )
    await expect(tab.page.locator(".extras-drop")).to_have_count(0)
    first = await tab.page.locator(".attach-photo img").get_attribute("src")
    await tab.page.evaluate(DROP, ["paste", "image/png", 2])
    await expect(tab.page.locator(".attach-photo img")).to_have_count(1)
    assert first
    await tab.page.evaluate(DROP, ["drop", "text/plain", 1])
    await expect(tab.page.locator(".create-note")).to_have_text("1 file is not a picture.")
    assert tab.errors == []
    await tab.page.locator("#create-file").set_input_files(files=[file(data=b"no picture")])
    await expect(tab.page.get_by_role("alert")).to_contain_text("not a picture")
    assert await find_violations(tab.page) == []


async def test_each_of_many_files_is_tried_and_one_sentence_names_those_that_are_refused(server, tab):
    await tab.open(server.url)
    await add_photo(tab.page, name="before.png")
    before = await tab.page.locator(".attach-photo img").get_attribute("src")
    texts = [file(name=f"notes-{number}.png", data=b"a text") for number in range(30)]
    field, alert = tab.page.locator("#create-file"), tab.page.get_by_role("alert")

    await field.set_input_files(files=texts)

    await expect(alert).to_have_text(
        "30 of 30 files were not added. notes-0.png, notes-1.png, notes-2.png and 27 more: "
        "This file is not a picture. Please send a PNG, JPEG, WebP, AVIF or GIF."
    )
    await expect(tab.page.locator(".attach-photo img")).to_have_attribute("src", before)  # nothing was lost
    assert await find_violations(tab.page) == []

    long_name = file(name=f"{'a' * 24} sea {'b' * 30}-12.png", data=b" ")
    await field.set_input_files(files=[*texts[:2], long_name, file("boat.png"), *texts[:3]])

    named = f"notes-0.png, notes-1.png, {'a' * 24}…{'b' * 8}-12.png"
    await expect(alert).to_contain_text(f"3 of 7 files were not added. {named}: ")
    await expect(alert).to_contain_text("3 more were not added: the limit is reached.")
    await expect(tab.page.locator(".attach-photo img")).to_have_attribute("alt", "boat.png")
    await expect(tab.page.locator(".attach-photo")).to_have_count(1)


async def test_an_error_that_concerns_every_file_ends_the_sending(server, tab):
    await tab.open(server.url)
    detail = "The server's disk is full."
    answers = []

    async def refuse(route):
        answers.append(route)
        await route.fulfill(status=507, json={"code": "storage_full", "detail": detail})

    await tab.page.route("**/api/v1/media", refuse)
    await tab.page.locator("#create-file").set_input_files(files=[file(name=f"{one}.png") for one in "ab"])

    await expect(tab.page.get_by_role("alert")).to_have_text(f"2 of 2 files were not added. a.png, b.png: {detail}")
    assert len(answers) == 1


async def test_a_large_photo_is_shrunk_before_it_is_sent(server, client, tab):
    data = io.BytesIO()
    Image.effect_noise((4400, 1200), 90).save(data, "PNG")
    await tab.open(server.url)

    async with tab.page.expect_response("**/api/v1/media") as answered:
        await tab.page.locator("#create-file").set_input_files(files=[file("large.png", data.getvalue())])

    media = await (await answered.value).json()
    assert (media["width"], media["height"]) == (4096, 1117)
    assert tab.errors == []


async def test_a_picture_with_its_settings_gives_them_back(server, tab):
    data, metadata = io.BytesIO(), PngInfo()
    metadata.add_text(
        "parameters", "a lighthouse\nNegative prompt: fog\nSteps: 99, CFG scale: 4, Seed: 123, Size: 64x64"
    )
    Image.new("RGB", (64, 64)).save(data, "PNG", pnginfo=metadata)
    await tab.open(server.url)
    await add_photo(tab.page, name="old.png", data=data.getvalue())

    await tab.page.get_by_role("button", name="Use its settings").click()

    await expect(tab.page.locator("#prompt")).to_have_value("a lighthouse")
    await expect(tab.page.locator(".create-note")).to_contain_text("steps is 99")
    await expect(tab.page.locator(".attach-photo")).to_have_count(0)
    await open_more(tab.page)
    await expect(tab.page.get_by_label("Seed", exact=True)).to_have_value("123")
    await expect(tab.page.get_by_label("Steps")).to_have_value("50")
    await expect(tab.page.get_by_label("Negative prompt")).to_have_value("fog")
    assert tab.errors == []


async def test_a_job_is_reused_by_its_address(server, client, tab):
    job = await make(client, imagine("two boats", steps=4, seed=7, style="ink"))
    for how, seed, steps in (("words", "", ""), ("all", "7", "4"), ("all_but_seed", "", "4")):
        await tab.open(server.url, f"/?reuse={job['id']}&how={how}")

        await expect(tab.page).to_have_url(f"{server.url}/")
        await expect(tab.page.locator("#prompt")).to_have_value("two boats")
        await expect(tab.page.get_by_label("Style")).to_have_value("ink")
        await open_more(tab.page)
        await expect(tab.page.get_by_label("Seed", exact=True)).to_have_value(seed)
        await expect(tab.page.get_by_label("Steps")).to_have_value(steps)
    assert tab.errors == []


async def test_a_picture_is_taken_as_the_photo_by_its_address_or_picked(server, client, tab):
    job = await make(client, imagine("a fox"))
    media = job["result"]["media"][0]["id"]

    await tab.open(server.url, f"/?image={media}&mode=ask")

    await expect(tab.page.locator(".attach-photo img")).to_have_attribute("src", re.compile(media))
    await expect(tab.page.get_by_role("radio", name="Ask")).to_be_checked()
    await tab.page.get_by_role("button", name="Remove picture 1").click()
    await tab.page.get_by_role("button", name="Add one of your pictures").click()
    assert await find_violations(tab.page) == []
    await tab.page.get_by_role("dialog").get_by_role("listitem").get_by_role("button").click()
    await expect(tab.page.locator(".attach-photo img")).to_have_attribute("src", re.compile(media))
    await tab.page.goto(f"{server.url}/?reuse=nothing-there")
    await expect(tab.page.locator(".create-note")).not_to_be_empty()
    assert [error for error in tab.errors if "status of 404" not in error] == []


async def test_names_are_completed_by_the_keyboard(server, tab):
    common = {"kind": "lora", "trigger_words": []}
    names = ("ink-lines", "ink-wash")
    loras = [{"name": name, "title": name, "insert": f"<lora:{name}:0.8>", **common} for name in names]
    await tab.page.route("**/api/v1/loras?q=in", lambda route: route.fulfill(json={"loras": loras}))
    await tab.open(server.url)
    field = tab.page.locator("#prompt")
    await field.press_sequentially("a fox <lora:")
    await field.press_sequentially("in")
    options = tab.page.locator(".completion").get_by_role("option")
    await expect(options).to_have_count(2)
    await expect(field).to_have_attribute("aria-activedescendant", "create-names-0")
    assert await find_violations(tab.page) == []

    await field.press("ArrowDown")
    await field.press("Enter")

    await expect(field).to_have_value("a fox <lora:ink-wash:0.8>")
    await expect(options).to_have_count(0)
    await field.fill("a fox ")
    await field.press_sequentially("--style i")
    await expect(options).to_have_count(1)
    await field.press("Escape")
    await expect(options).to_have_count(0)
    await field.press_sequentially("n")
    await options.first.click()
    await expect(field).to_have_value("a fox ")
    await expect(tab.page.get_by_label("Style")).to_have_value("ink")
    assert tab.errors == []


async def test_enter_sends_and_earlier_prompts_come_back_by_the_arrow_keys(server, tab):
    await tab.open(server.url)
    field = tab.page.locator("#prompt")
    await expect(field).to_be_focused()
    await field.fill("one")
    await field.press("Shift+Enter")
    await field.press_sequentially("two")
    await field.press("Control+Enter")
    await expect(tile(tab.page)).to_have_count(1)
    await send(tab.page, "second")
    await expect(tile(tab.page)).to_have_count(2)
    await field.fill("")

    await field.press("ArrowUp")
    await expect(field).to_have_value("second")
    await field.press("ArrowUp")
    await expect(field).to_have_value("one\ntwo")
    await field.press("ArrowDown")
    await field.press("ArrowDown")
    await expect(field).to_have_value("")
    await field.fill("something else")
    await field.press("ArrowUp")

    await expect(field).to_have_value("something else")
    await field.press("Alt+a")
    await expect(tab.page.get_by_role("button", name="Ask", exact=True)).to_be_visible()


async def test_combinations_are_confirmed_first_and_a_refused_option_is_shown(server, tab):
    await tab.open(server.url)
    await send(tab.page, "a {red|green} kite")
    confirmation = tab.page.get_by_role("group", name="Confirmation")
    await expect(confirmation).to_contain_text("2 combinations")
    assert await find_violations(tab.page) == []

    await confirmation.get_by_role("button", name="Generate all").click()

    await expect(tile(tab.page)).to_have_count(2)
    await expect(confirmation).to_have_count(0)
    assert tab.errors == []

    await open_more(tab.page)
    await tab.page.get_by_label("Steps").fill("99")
    await close_dialog(tab.page)
    await send(tab.page, "a fox")
    await expect(tab.page.get_by_role("alert")).to_have_text("steps is 99, but must be 1 to 50.")

    await tab.page.get_by_role("button", name="Show this option").click()

    await expect(tab.page.get_by_label("Steps")).to_be_focused()
    await expect(tab.page.get_by_label("Steps")).to_have_attribute("aria-invalid", "true")
    assert [error for error in tab.errors if "status of 422" not in error] == []


async def test_a_failed_job_is_tried_again(server, tab):
    await tab.open(server.url)
    await send(tab.page, "fail")
    failed = tile(tab.page, "failed")
    await expect(failed.get_by_role("button", name="Try again")).to_be_visible()
    assert "secret" not in await failed.inner_text()
    assert await find_violations(tab.page) == []

    await failed.get_by_role("button", name="Try again").click()

    await expect(failed).to_have_count(2)
    assert EngineError.__name__ not in await tab.page.inner_text("main")


async def test_a_spoiler_is_blurred_until_it_is_asked_for(server, tab):
    server.usecases.moderation.settings = SafetySettings(local_policy="spoiler")
    await tab.open(server.url)
    await send(tab.page, "a nude statue")
    image = tile(tab.page).locator(".create-picture")
    await expect(image).to_have_css("filter", re.compile("blur"))
    assert await find_violations(tab.page) == []

    await tab.page.get_by_role("button", name="Show this picture").click()

    await expect(image).to_have_css("filter", "none")
    assert tab.errors == []


async def test_tiles_are_one_tab_stop_and_the_arrow_keys_move_between_them(server, client, tab):
    for number in range(4):
        await make(client, imagine(f"number {number}", steps=1))
    await tab.open(server.url)
    await expect(tile(tab.page)).to_have_count(4)
    assert await tab.page.locator('[data-tile][tabindex="0"]').count() == 1
    first = tab.page.locator("[data-tile]").first
    await first.focus()

    await first.press("ArrowRight")
    await expect(tab.page.locator("[data-tile]").nth(1)).to_be_focused()
    await tab.page.keyboard.press("End")
    await expect(tab.page.locator("[data-tile]").nth(3)).to_be_focused()

    assert await tab.page.locator('[data-tile][tabindex="0"]').count() == 1
    await tab.page.keyboard.press("/")
    await expect(tab.page.locator("#prompt")).to_be_focused()


async def test_an_outage_keeps_the_draft_and_its_sentence_goes_with_it(server, tab):
    await tab.open(server.url)
    port = int(server.url.rpartition(":")[2])
    await server.stop()
    await send(tab.page, "a patient fox")
    await expect(tab.page.get_by_role("alert")).to_contain_text("The server is not responding")

    await server.serve(port=port)

    await expect(tab.page.get_by_role("alert")).to_have_count(0)
    await expect(tab.page.locator("#prompt")).to_have_value("a patient fox")
    await tab.page.locator("#prompt").press("Enter")
    await expect(tile(tab.page)).to_have_count(1)


async def test_a_hidden_page_shows_progress_in_its_title(server, tab):
    await tab.open(server.url)
    await send(tab.page, "slow fox")
    await expect(tile(tab.page, "running")).to_contain_text("Step 2")

    await tab.page.evaluate(
        """Object.defineProperty(document, "hidden", { get: () => true, configurable: true });
        document.dispatchEvent(new Event("visibilitychange"))"""
    )

    await expect(tab.page).to_have_title("40 % · Create · Easel")
    server.pool.go_on.set()
    await expect(tab.page).to_have_title("Done · Create · Easel")


async def test_demo_models_point_admins_to_real_ones(server, tab):
    server.usecases.models.remove_model("paint")
    await tab.open(server.url)

    await expect(tab.page.get_by_role("link", name="Choose a real model")).to_have_attribute("href", "/models")

    key = await server.create_key("Ada")
    await tab.page.goto(f"{server.url}/")
    await tab.sign_in(key)
    await expect(tab.page.locator(".create-foot")).to_contain_text("This is a small demo model.")
    await expect(tab.page.get_by_role("link", name="Choose a real model")).to_have_count(0)


async def test_many_unfinished_jobs_leave_connections_for_other_requests(server, tab):
    """A browser opens six connections at most: were each job streamed, the seventh request would wait for ever."""
    await tab.open(server.url)
    for number in range(9):
        await send(tab.page, f"slow {number}")
    await expect(tab.page.locator(".extras-queue")).to_contain_text("3 more in the queue")
    assert await find_violations(tab.page) == []

    server.pool.go_on.set()

    await expect(tile(tab.page)).to_have_count(9, timeout=15_000)
    assert tab.errors == []


async def test_on_a_phone_the_composer_stays_above_the_tabs(server, client, phone):
    for number in range(8):
        await make(client, imagine(f"number {number}", steps=1))
    await phone.open(server.url)
    await phone.page.locator("#prompt").fill("a fox")
    await phone.page.get_by_role("button", name="Imagine").tap()
    await expect(tile(phone.page)).to_have_count(9)

    composer = await phone.page.locator(".create-composer").bounding_box()
    tabs = await phone.page.locator(".tabs").bounding_box()
    width = await phone.page.evaluate("document.documentElement.scrollWidth")
    shown = await phone.page.evaluate(COUNT_VISIBLE, composer["y"])

    assert width <= PHONE["width"]
    assert abs(composer["y"] + composer["height"] - tabs["y"]) <= 1
    assert shown >= 6
    assert await find_violations(phone.page) == []
    await phone.page.get_by_role("button", name="More").tap()
    await expect(phone.page.get_by_role("dialog", name="More options")).to_be_in_viewport()
    assert await find_violations(phone.page) == []
    assert phone.errors == []


async def test_a_picture_that_one_does_not_have_leaves_the_draft(server, tab):
    await tab.open(server.url, f"/?image={'0' * 64}&mode=ask")

    await expect(tab.page.locator(".create-note")).to_contain_text("A picture was removed: it was deleted")
    await expect(tab.page.locator(".attach-photo")).to_have_count(0)
    assert await find_violations(tab.page) == []
    await tab.page.reload()
    await expect(tab.page.locator("#prompt")).to_be_visible()
    await expect(tab.page.locator(".attach-photo")).to_have_count(0)


@pytest.mark.parametrize("path", ["/gallery", "/models"])
async def test_photos_dropped_on_other_views_are_added_in_create(server, tab, path):
    await tab.open(server.url, path)
    await tab.page.evaluate(DROP, ["dragenter", "image/png", 1])

    async with asyncio.timeout(8):
        while tab.page.url != f"{server.url}/":  # what takes it is being loaded
            await tab.page.evaluate(DROP, ["drop", "image/png", 1])
            await tab.page.wait_for_timeout(100)

    await expect(tab.page.locator(".attach-photo img")).to_have_count(1)
    assert tab.errors == []


async def test_of_pictures_that_were_compared_the_best_is_shown_with_the_way_to_the_others(server, client, tab):
    models = server.usecases.models
    models.add_model(ModelSpec(name="judge", tasks=(ZERO_SHOT_IMAGE_CLASSIFICATION,), repo="judge"))
    server.pool.set_models(models.installed())
    await tab.open(server.url)
    count = tab.page.get_by_role("group", name="Number of pictures")
    await count.get_by_role("radio", name="4").check()
    await open_more(tab.page)
    await tab.page.get_by_label("Best of").fill("3")
    await close_dialog(tab.page)
    await expect(count).to_have_count(0)  # its own number counts
    await send(tab.page, "a boat")
    others = tab.page.get_by_role("link", name="2 more pictures, which match the prompt less")
    await expect(others).to_have_text("+2")
    assert await tile(tab.page).count() == 1
    assert await find_violations(tab.page) == []
    await others.click()
    await expect(tab.page).to_have_url(re.compile(r"/p/[a-z2-7]{16}/2$"))
    await expect(tab.page.locator(".viewer-facts")).to_contain_text("Match with the prompt")
    assert tab.errors == []
