"""The page, driven in a real browser against the real server."""

import io
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest
import pytest_asyncio
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from bot.errors import DownloadFailed
from bot.safety import SafetySettings
from tests.model_manager_fixture import FOX
from tests.web.api_client import imagine, make
from tests.web.conftest import ServedEasel
from tests.web.fake_pool import picture

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync",
]  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("EASEL_REQUIRE_BROWSER") == "1":
            pytest.fail("no Chromium is installed, and EASEL_REQUIRE_BROWSER=1 asks for one")
        pytest.skip("no Chromium is installed: apt-get install chromium")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        await browser.close()


@dataclass
class Tab:
    """A page, and the errors and warnings of its console."""

    page: Page
    errors: list[str] = field(default_factory=list)

    def listen(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.text} {message.location}")

    async def open(self, url: str) -> None:
        await self.page.goto(f"{url}/")
        await expect(self.page.locator("body[data-ready]")).to_be_attached()

    async def imagine(self, prompt: str) -> None:
        await self.page.get_by_label("Prompt, or a question about the picture").fill(prompt)
        await self.page.keyboard.press("Enter")

    def job_card(self, prompt: str, state: str):
        return self.page.locator(f'.job-card[aria-label="{prompt}"][data-state="{state}"]')


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_tab(browser: Browser) -> AsyncIterator[Tab]:
    """One tab for all tests, because a new context costs a second of processor time.

    Each server has its own port, so neither storage nor caches of one test reach another.
    """
    context = await browser.new_context(viewport={"width": 1180, "height": 900})
    context.set_default_timeout(8000)
    tab = Tab(await context.new_page())
    tab.page.on("console", tab.listen)
    tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))
    yield tab
    await context.close()


@pytest_asyncio.fixture(loop_scope="module")
async def tab(shared_tab: Tab, server: ServedEasel) -> AsyncIterator[Tab]:
    """Closed before the server, whose end would be an error on its console."""
    shared_tab.errors.clear()
    yield shared_tab
    await shared_tab.page.goto("about:blank")


async def test_a_prompt_becomes_a_picture_that_can_be_asked_about(server, tab):
    await tab.open(server.url)
    await tab.imagine("slow circle")
    running = tab.job_card("slow circle", "running")
    await expect(running.locator(".progress-text")).to_contain_text("Step 2 of 5")
    await expect(running.locator(".pending img")).to_be_visible()
    await tab.imagine("another one")
    await expect(tab.job_card("another one", "queued").locator(".progress-text")).to_contain_text(
        "Queued at position 1"
    )

    await tab.job_card("another one", "queued").get_by_role("button", name="Cancel").click()
    await expect(tab.job_card("another one", "cancelled")).to_contain_text("Cancelled; you weren't charged.")
    server.pool.go_on.set()

    done = tab.job_card("slow circle", "delivered")
    image = done.get_by_role("img", name="It is a picture")
    await expect(image).to_be_visible()
    await expect(image).to_have_js_property("naturalWidth", 64)
    await expect(tab.page.locator("#status")).to_contain_text("Done: slow circle")
    await done.get_by_label("Ask about this picture").fill("What colour is it?")
    await tab.page.keyboard.press("Enter")
    await expect(done.locator(".answer")).to_have_text("It is What colour is it?")
    await done.get_by_role("button", name="Caption").click()
    await expect(done.locator(".answer").last).to_have_text("It is a picture")
    await done.get_by_role("button", name="Describe").click()
    await done.get_by_role("button", name="prompt 2").click()
    await expect(tab.page.locator("#prompt")).to_have_value("prompt 2")
    await done.get_by_role("button", name="Upscale").click()
    await expect(tab.page.locator(".job-card")).to_have_count(3)
    larger = tab.page.locator(".job-card").first.get_by_role("img", name="It is a picture")
    await expect(larger).to_be_visible()
    await expect(larger).to_have_js_property("naturalWidth", 128)
    assert tab.errors == []


async def test_a_loading_model_is_named_with_the_time_that_is_left(server, tab):
    await tab.open(server.url)

    await tab.imagine("loads")

    text = tab.job_card("loads", "running").locator(".progress-text")
    await expect(text).to_contain_text(re.compile(r"Loading the model · about 2\d s left"))


async def test_a_spoiler_is_blurred_until_it_is_clicked(server, tab):
    server.usecases.moderation.settings = SafetySettings(local_policy="spoiler")
    await tab.open(server.url)
    await tab.imagine("a nude statue")
    done = tab.job_card("a nude statue", "delivered")
    image = done.locator(".frame img")
    await expect(image).to_have_css("filter", re.compile("blur"))

    await done.get_by_role("button", name="Show this picture").click()

    await expect(image).to_have_css("filter", "none")
    await expect(done.get_by_role("button", name="Show this picture")).to_have_count(0)
    assert tab.errors == []


async def test_a_reload_brings_back_history_threads_and_running_jobs(server, tab):
    await tab.open(server.url)
    await tab.imagine("a fox")
    done = tab.job_card("a fox", "delivered")
    await done.get_by_label("Ask about this picture").fill("Who is it?")
    await done.get_by_role("button", name="Ask").click()
    await expect(done.locator(".answer")).to_have_text("It is Who is it?")
    await tab.imagine("slow river")
    await expect(tab.job_card("slow river", "running")).to_be_visible()

    await tab.page.reload()

    await expect(tab.job_card("a fox", "delivered").locator(".answer")).to_have_text("It is Who is it?")
    await expect(tab.job_card("slow river", "running").locator(".progress-text")).to_contain_text("Step 2")
    server.pool.go_on.set()
    await expect(tab.job_card("slow river", "delivered").get_by_role("img", name="It is a picture")).to_be_visible()
    await tab.page.get_by_label("Search prompts, captions and answers").fill("fox")
    await expect(tab.page.locator(".job-card")).to_have_count(1)
    await tab.page.get_by_label("Search prompts, captions and answers").fill("nothing like it")
    await expect(tab.page.locator("#empty-state")).to_contain_text("Nothing found")
    assert tab.errors == []


async def test_many_unfinished_jobs_leave_connections_for_other_requests(server, tab):
    """A browser opens six connections at most: were each job streamed, the seventh request would wait for ever."""
    await tab.open(server.url)
    for number in range(9):
        await tab.imagine(f"slow {number}")
        await expect(tab.page.locator(f'.job-card[aria-label="slow {number}"]')).to_be_visible()

    server.pool.go_on.set()

    await expect(tab.page.locator('.job-card[data-state="delivered"]')).to_have_count(9, timeout=15_000)
    assert tab.errors == []


async def test_an_upload_is_asked_about_captioned_and_used_as_input(server, tab):
    upload = {"name": "boat.png", "mimeType": "image/png", "buffer": picture(3, 48, 32)}
    await tab.open(server.url)
    await tab.page.locator("#image-file").set_input_files(files=[upload])
    await expect(tab.page.locator("#input-image-note")).to_contain_text("boat.png, 48 × 32")
    await tab.page.locator("#prompt").fill("What is it?")
    await tab.page.get_by_role("button", name="Ask about it").click()
    card = tab.page.locator(".upload-card")
    await expect(card.locator(".answer")).to_have_text("It is What is it?")
    await card.get_by_role("button", name="Caption").click()
    await expect(card.locator(".answer").last).to_have_text("It is a picture")

    await card.get_by_role("button", name="Start from it").click()
    await expect(tab.page.get_by_role("button", name="Imagine from it")).to_be_visible()
    await tab.imagine("a boat at night")

    await expect(tab.job_card("a boat at night", "delivered")).to_be_visible()
    jobs = (await server.usecases.jobs.list_tickets(await server.usecases.people.local_person()))[0]
    assert jobs[0].job.options["strength"] == 0.6
    assert jobs[0].job.images[0].id == jobs[1].job.images[0].id
    assert tab.errors == []


async def test_a_picture_with_generation_parameters_restores_its_settings(server, tab):
    file, metadata = io.BytesIO(), PngInfo()
    metadata.add_text(
        "parameters", "a lighthouse\nNegative prompt: fog\nSteps: 9, CFG scale: 4, Seed: 123, Size: 64x64"
    )
    Image.new("RGB", (64, 64)).save(file, "PNG", pnginfo=metadata)
    await tab.open(server.url)
    await tab.page.locator("#image-file").set_input_files(
        files=[{"name": "old.png", "mimeType": "image/png", "buffer": file.getvalue()}]
    )

    await tab.page.get_by_role("button", name="Use its settings").click()

    await expect(tab.page.locator("#prompt")).to_have_value("a lighthouse")
    await tab.page.locator("#options summary").click()
    await expect(tab.page.get_by_label("Seed", exact=True)).to_have_value("123")
    await expect(tab.page.get_by_label("Steps")).to_have_value("9")
    await expect(tab.page.get_by_label("Negative prompt")).to_have_value("fog")
    assert tab.errors == []


async def test_options_are_sent_kept_and_reused(server, tab):
    await tab.open(server.url)
    await tab.page.locator("#options summary").click()
    await tab.page.get_by_label("Seed", exact=True).fill("77")
    await tab.page.get_by_label("Steps").fill("4")
    await tab.page.get_by_label("Negative prompt").fill("fog")
    await tab.page.get_by_label("Number of pictures").select_option("2")
    await tab.page.get_by_label("Sampler").select_option("ddim")
    await tab.imagine("two boats")
    done = tab.job_card("two boats", "delivered")
    await expect(done.locator("figure")).to_have_count(2)
    await expect(done.locator(".parameters")).to_contain_text("77")
    await expect(done.locator(".negative-prompt")).to_have_text("without fog")
    await tab.page.get_by_role("button", name="New seed each time").click()
    await tab.page.get_by_label("Steps").fill("")

    await done.get_by_role("button", name="Reuse").click()

    await expect(tab.page.get_by_label("Seed", exact=True)).to_have_value("77")
    await expect(tab.page.get_by_label("Steps")).to_have_value("4")
    await expect(tab.page.locator("#prompt")).to_have_value("two boats")
    await tab.page.get_by_role("button", name="Roll a seed").click()
    await expect(tab.page.get_by_label("Seed", exact=True)).not_to_have_value("77")
    assert tab.errors == []


async def test_a_style_is_chosen_beside_the_other_options(server, client, tab):
    await tab.open(server.url)
    await tab.page.locator("#options summary").click()
    await tab.page.get_by_label("Style").select_option("ink")
    await tab.imagine("a harbour")

    await expect(tab.page.locator('.job-card[data-state="delivered"]').first.get_by_role("img").first).to_be_visible()
    [job, *_] = (await client.get("/api/v1/jobs")).json()["jobs"]
    assert job["options"]["prompt"] == "ink drawing of a harbour"
    assert tab.errors == []


async def test_combinations_are_priced_and_confirmed_first(server, tab):
    await tab.open(server.url)
    await tab.imagine("a {red|green} kite")

    await expect(tab.page.locator("#confirm-text")).to_contain_text("2 combinations, 2 device-seconds")
    await tab.page.get_by_role("button", name="Generate all").click()

    await expect(tab.job_card("a red kite", "delivered")).to_be_visible()
    await expect(tab.job_card("a green kite", "delivered")).to_be_visible()
    assert tab.errors == []


async def test_a_refusal_is_a_sentence_beside_what_it_is_about(server, tab):
    await tab.open(server.url)
    await tab.page.locator("#options summary").click()
    await tab.page.get_by_label("Steps").fill("99")
    await tab.imagine("a fox")

    await expect(tab.page.get_by_role("alert").first).to_have_text("steps is 99, but must be 1 to 50.")
    await expect(tab.page.get_by_label("Steps")).to_have_attribute("aria-invalid", "")
    await tab.page.locator("#image-file").set_input_files(
        files=[{"name": "x.png", "mimeType": "image/png", "buffer": b"no picture"}]
    )
    await expect(tab.page.get_by_role("alert").first).to_contain_text("not a picture")
    assert [error for error in tab.errors if "status of 4" not in error] == []


async def test_enter_sends_and_shift_enter_starts_a_new_line(server, tab):
    await tab.open(server.url)
    await tab.page.locator("#prompt").fill("one")
    await tab.page.keyboard.press("Shift+Enter")
    await tab.page.keyboard.type("two")
    await expect(tab.page.locator("#prompt")).to_have_value("one\ntwo")

    await tab.page.keyboard.press("Enter")

    await expect(tab.job_card("one two", "delivered")).to_be_visible()


async def test_older_jobs_are_loaded_page_by_page(server, client, tab):
    for number in range(22):
        await make(client, imagine(f"number {number}", steps=1))
    await tab.open(server.url)
    await expect(tab.page.locator(".job-card")).to_have_count(20)

    await tab.page.get_by_role("button", name="Show older").click()

    await expect(tab.page.locator(".job-card")).to_have_count(22)
    await expect(tab.page.locator(".job-card").last.locator(".prompt")).to_have_text("number 0")
    await expect(tab.page.get_by_role("button", name="Show older")).to_be_hidden()


async def test_with_a_key_the_page_asks_for_it_and_keeps_a_session(server, tab):
    key = await server.create_key("Ada")
    await tab.page.goto(f"{server.url}/")
    await tab.page.get_by_label("API key", exact=True).fill(key)
    await tab.page.get_by_role("button", name="Sign in").click()
    await expect(tab.page.locator("#quota-text")).to_have_text("5 of 5 device-seconds left today")

    await tab.imagine("a locked garden")

    image = tab.job_card("a locked garden", "delivered").get_by_role("img", name="It is a picture")
    await expect(image).to_have_js_property("naturalWidth", 64)
    await expect(tab.page.locator("#quota-text")).to_have_text("4 of 5 device-seconds left today")
    await tab.page.reload()
    await expect(tab.job_card("a locked garden", "delivered")).to_be_visible()
    assert tab.errors == []


async def test_the_page_reconnects_after_a_server_restart(server, tab):
    await tab.open(server.url)
    await tab.imagine("slow and steady")
    await expect(tab.job_card("slow and steady", "running")).to_be_visible()
    port = int(server.url.rpartition(":")[2])

    await server.stop()
    await expect(tab.page.locator(".banner")).to_be_visible()
    await server.serve(port=port)
    await expect(tab.page.locator(".banner")).to_be_hidden()
    server.pool.go_on.set()

    await expect(tab.job_card("slow and steady", "delivered")).to_be_visible()


async def test_the_page_fits_a_phone(server, browser):
    context = await browser.new_context(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True)
    page = await context.new_page()
    await page.goto(f"{server.url}/")
    await page.locator("#prompt").fill("x" * 120)
    await page.get_by_role("button", name="Imagine").tap()
    await expect(page.locator('.job-card[data-state="delivered"] img')).to_be_visible()
    await page.locator("#options summary").tap()

    widths = await page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")

    assert widths[0] <= widths[1]
    await context.close()


async def test_every_control_has_a_name_and_no_id_is_used_twice(server, tab):
    await tab.open(server.url)
    await tab.imagine("a fox")
    await expect(tab.job_card("a fox", "delivered")).to_be_visible()

    nameless = await tab.page.evaluate(
        """[...document.querySelectorAll("button, input, select, textarea, a, img, progress, meter")].filter((one) =>
        !one.hasAttribute("alt") && !one.ariaLabel && !one.textContent.trim() && !one.labels?.length)
        .map((one) => one.outerHTML)"""
    )
    twice = await tab.page.evaluate(
        """[...document.querySelectorAll("[id]")].map((one) => one.id)
        .filter((id, index, all) => all.indexOf(id) !== index)"""
    )

    assert nameless == []
    assert twice == []


async def test_the_api_docs_work_offline(server, tab):
    await tab.page.goto(f"{server.url}/docs")

    await expect(tab.page.locator("#operations")).to_contain_text("/api/v1/jobs/{job_id}/events")
    await expect(tab.page.locator("#invalid_option")).to_contain_text("422")
    assert "[object" not in await tab.page.locator("main").inner_text()
    assert tab.errors == []


async def test_an_admin_accepts_the_terms_and_switches_to_another_model(server, tab):
    await tab.open(server.url)
    await tab.page.get_by_role("button", name="Models").click()
    dialog = tab.page.get_by_role("dialog", name="Models")
    fox = dialog.locator('[data-model="fox"]')
    await expect(fox).to_contain_text("Not for commercial use.")

    await fox.get_by_role("button", name="Use it").click()
    await expect(fox).to_contain_text("Licence: fox-1.0.")
    await fox.get_by_role("button", name="Accept and use it").click()

    await expect(dialog.locator("#installed-models")).to_contain_text("Fox XL is the default for text-to-image")
    await expect(tab.page.locator("#status")).to_contain_text("Fox XL is in use.")
    await fox.get_by_role("button", name="Remove").click()
    await expect(dialog.locator("#available-models")).to_contain_text("Fox XL")
    await dialog.get_by_label("Add a model").fill("no model at all")
    await dialog.get_by_role("button", name="Add").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("no model at all was not found")
    assert [line for line in tab.errors if "409" not in line] == []


async def test_a_demo_model_is_pointed_out_to_admins_once(server, tab):
    server.usecases.models.remove_model("paint")
    await tab.open(server.url)
    await tab.imagine("a small house")
    done = tab.job_card("a small house", "delivered")
    await expect(done.locator(".parameters")).to_contain_text("demo (demo)")
    await expect(done.locator(".note")).to_be_hidden()

    await tab.page.get_by_role("button", name="install a real one").click()

    await expect(tab.page.get_by_role("dialog", name="Models").locator('[data-model="fox"]')).to_be_visible()
    key = await server.create_key("Ada")
    await tab.page.goto(f"{server.url}/")
    await tab.page.get_by_label("API key", exact=True).fill(key)
    await tab.page.get_by_role("button", name="Sign in").click()
    await expect(tab.page.locator("body[data-ready]")).to_be_attached()
    await expect(tab.page.get_by_role("button", name="install a real one")).to_be_hidden()
    assert tab.errors == []


async def test_an_admin_unloads_idle_models(server, tab):
    await tab.open(server.url)
    await tab.page.get_by_role("button", name="Models").click()
    dialog = tab.page.get_by_role("dialog", name="Models")

    await dialog.get_by_role("button", name="Unload idle").click()

    await expect(dialog).to_contain_text("and freed 512 MiB.")
    assert tab.errors == []


async def test_a_models_terms_stay_open_while_another_model_is_installed(server, tab):
    manager = server.usecases.model_manager
    manager.models.add_preset(replace(FOX, name="owl", title="Owl"))
    manager.downloads.errors["inspect_repo"] = DownloadFailed("org/fox", "gated", url="https://hub.test/org/fox")
    await tab.open(server.url)
    await tab.page.get_by_role("button", name="Models").click()
    dialog = tab.page.get_by_role("dialog", name="Models")
    fox, owl = dialog.locator('[data-model="fox"]'), dialog.locator('[data-model="owl"]')

    await fox.get_by_role("button", name="Use it").click()
    await expect(fox.get_by_role("alert")).to_contain_text("set HF_TOKEN, and run this again")
    manager.downloads.errors.clear()
    manager.downloads.go_on.clear()
    await fox.get_by_role("button", name="Try again").click()
    await fox.get_by_role("button", name="Accept and use it").click()
    await expect(fox).to_contain_text("Downloading, 40 %")
    await owl.get_by_role("button", name="Use it").click()
    await expect(owl).to_contain_text("Licence: fox-1.0.")
    async with tab.page.expect_response("**/admin/models"):
        pass  # the progress of the fox is refreshed

    await expect(owl.get_by_role("button", name="Accept and use it")).to_be_visible()
    manager.downloads.go_on.set()
    await expect(dialog.locator("#installed-models")).to_contain_text("Fox XL is the default for text-to-image")
    await owl.get_by_role("button", name="Not now").click()
    await expect(owl.get_by_role("button", name="Use it")).to_be_visible()
