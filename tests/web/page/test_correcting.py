"""A caption or an answer is corrected under it, with consent that is given, shown and withdrawn."""

from datetime import UTC, datetime

import pytest
from playwright.async_api import expect

from bot.ports import AdapterRecord, TrainedExample
from tests.web.api_client import job_of, make, upload
from tests.web.fake_pool import picture
from tests.web.page.conftest import find_violations
from tests.web.page.test_viewer import button

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]
CONSENT = "These words and the picture may be used to train this server's models. You can withdraw this any time."


async def answered(client):
    photo = await upload(client, picture(5, 48, 32))
    return await make(client, {"command": "ask", "images": [photo["id"]], "options": {"question": "what is this?"}})


async def learn(server, name):
    made = AdapterRecord(
        name=name, kind="vision", model="look", revision="1", sha256="0", state="accepted", report={},
        created_at=datetime.now(UTC),
    )  # fmt: skip
    [used] = await server.storage.corrections.list_consented()
    await server.storage.adapters.save_adapter(made, [TrainedExample("d", used.id)])


async def test_a_correction_from_its_button_to_its_end(server, client, tab):
    job = await answered(client)
    await tab.open(server.url, f"/p/{job['id']}/1")
    part = tab.page.locator(f"[data-correction='{job['id']}']")
    await button(tab.page, "Correct this").click()
    field = tab.page.get_by_label("What it should have been")
    await expect(field).to_be_focused()
    await expect(tab.page.get_by_label(CONSENT)).not_to_be_checked()
    await tab.page.keyboard.press("Enter")
    await expect(part.get_by_role("alert")).to_contain_text("Type what it should have been.")
    assert await find_violations(tab.page) == []
    await field.fill("no, it is a lynx")
    await tab.page.get_by_label(CONSENT).check()
    await button(tab.page, "Save").click()

    await expect(part).to_contain_text("no, it is a lynx")
    await expect(part).to_contain_text("You allowed the use of these words and the picture for training on")
    assert (await job_of(client, job["id"]))["correction"]["consent"]
    assert await find_violations(tab.page) == []

    await learn(server, "birds")
    await button(tab.page, "Withdraw consent").click()
    await expect(tab.page.locator(".toast")).to_contain_text("The adapter birds learned from it and is switched off.")
    await expect(part).to_contain_text("You withdrew your consent on")
    await expect(button(tab.page, "Withdraw consent")).to_have_count(0)
    await button(tab.page, "Change").click()
    await expect(field).to_be_focused()
    await tab.page.keyboard.press("Escape")
    await expect(button(tab.page, "Change")).to_be_visible()
    await button(tab.page, "Delete correction").click()
    await expect(button(tab.page, "Correct this")).to_be_focused()
    assert (await job_of(client, job["id"]))["correction"] is None
    assert tab.errors == []


async def test_answers_on_create_can_be_corrected_and_other_results_cannot(server, client, phone):
    job = await answered(client)
    await make(client)
    await phone.open(server.url, "/")
    await button(phone.page, "Correct this").click()
    await phone.page.get_by_label("What it should have been").fill("a lynx")
    await button(phone.page, "Save").click()

    await expect(phone.page.locator(f"[data-correction='{job['id']}']")).to_contain_text(
        "This is not used for training."
    )
    await expect(button(phone.page, "Correct this")).to_have_count(0)
    assert await find_violations(phone.page) == []


async def test_in_the_viewer_over_create_the_form_has_its_label_and_the_focus(server, client, tab):
    made = await make(client)
    asked = {"command": "ask", "images": [made["result"]["media"][0]["id"]], "options": {"question": "what is this?"}}
    job = await make(client, asked)
    await tab.open(server.url, "/")
    await expect(tab.page.locator(f"[data-correction='{job['id']}']")).to_be_visible()
    await tab.page.locator(".create-tile a").first.click()
    part = tab.page.get_by_role("region", name="Questions").locator(f"[data-correction='{job['id']}']")

    await part.get_by_role("button", name="Correct this").press("Enter")

    await expect(part.get_by_label("What it should have been")).to_be_focused()
    await tab.page.keyboard.type("a lynx")
    await tab.page.keyboard.press("Enter")
    await expect(part).to_contain_text("a lynx")
    await expect(part.get_by_role("button", name="Change")).to_be_focused()


async def test_consent_to_words_is_none_to_the_words_that_replace_them(server, client, tab):
    job = await answered(client)
    path = f"/api/v1/jobs/{job['id']}/correction"
    assert (await client.post(path, json={"text": "a lynx", "consent": True})).status_code == 201
    await tab.open(server.url, f"/p/{job['id']}/1")
    await button(tab.page, "Change").click()
    await expect(tab.page.get_by_label(CONSENT)).to_be_checked()

    await tab.page.keyboard.type("es")
    await expect(tab.page.get_by_label(CONSENT)).not_to_be_checked()
    await tab.page.get_by_label(CONSENT).check()
    await tab.page.get_by_label("What it should have been").press_sequentially("!")
    await expect(tab.page.get_by_label(CONSENT)).to_be_checked()
