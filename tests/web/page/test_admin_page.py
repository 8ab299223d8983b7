"""What admins do on the page: people, keys, everybody's queue, devices, metrics, reports, refusals, incidents."""

import asyncio
import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from playwright.async_api import expect

from bot.models import IMAGE_TEXT_TO_TEXT
from tests.training_fixture import FakeTrainer
from tests.web.conftest import open_client
from tests.web.page.conftest import find_violations, measure_layout_shift

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]

SECRET_WORDS = "a heron nobody knows"
TABS = ("people", "queue", "devices", "metrics", "reports", "refused", "incidents", "training", "plugins", "server")


@pytest_asyncio.fixture(loop_scope="module")
async def keys(server):
    """An admin's key, and another person's."""
    _, admin = await server.usecases.people.create_key("Olga", is_admin=True)
    return admin, await server.create_key("Ann")


@pytest_asyncio.fixture(loop_scope="module")
async def ann(server, keys):
    async with open_client(server) as client:
        client.headers["Authorization"] = f"Bearer {keys[1]}"
        yield client
        server.pool.go_on.set()


async def imagine(client, prompt, **options):
    wanted = {"command": "imagine", "options": {"prompt": prompt, "model": "paint", "steps": 3, **options}}
    answer = await client.post("/api/v1/jobs", json=wanted)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


async def wait_for_end(client, job_id):
    async with asyncio.timeout(8):
        while True:
            body = (await client.get(f"/api/v1/jobs/{job_id}")).json()
            if body["state"] not in ("queued", "running"):
                return body
            await asyncio.sleep(0.01)


async def open_tab(tab, server, key, name, more=""):
    await tab.page.goto(f"{server.url}/admin?tab={name}{more}")
    await tab.sign_in(key)
    await expect(tab.page.get_by_role("heading", name="Admin", exact=True)).to_be_visible()


async def test_every_part_can_be_opened_and_says_what_there_is(server, phone, keys):
    await open_tab(phone, server, keys[0], "people")
    for name in TABS:
        await phone.open(server.url, f"/admin?tab={name}")
        part = phone.page.locator(".admin-part")
        await expect(part.locator("h1, h2, .admin-card").first).to_be_visible()
        await expect(part.locator(".state-loading")).to_have_count(0)
        await expect(phone.page.locator(".admin-tab[aria-current]")).to_be_in_viewport()
        assert await find_violations(phone.page) == []
        assert await phone.page.evaluate("document.documentElement.scrollWidth") <= 390, name
    assert phone.errors == []


async def test_an_address_of_no_part_says_so_and_shows_nobody(server, tab, keys):
    await open_tab(tab, server, keys[0], "owls")

    await expect(tab.page.get_by_role("heading", name="This page does not exist")).to_be_visible()
    await expect(tab.page.locator(".admin-tab[aria-current]")).to_have_count(0)
    assert await find_violations(tab.page) == []
    await tab.page.get_by_role("link", name="Storage and policies").click()
    await expect(tab.page.get_by_role("region", name="Storage", exact=True)).to_contain_text("Compiled models")
    assert tab.errors == []


async def test_others_are_told_that_this_is_for_admins(server, tab, keys):
    await tab.page.goto(f"{server.url}/admin?tab=queue")
    await tab.sign_in(keys[1])

    await expect(tab.page.get_by_role("heading", name="Admins only")).to_be_visible()
    await expect(tab.page.get_by_role("link", name="Admin")).to_have_count(0)
    assert await find_violations(tab.page) == []
    assert tab.errors == []


async def test_a_part_that_cannot_be_loaded_is_offered_again(server, tab):
    problem = {"detail": "The database broke.", "incident": "0123abcd"}
    await tab.page.route("**/admin/people", lambda route: route.fulfill(status=500, json=problem), times=1)
    await tab.page.goto(f"{server.url}/admin")
    await expect(tab.page.get_by_role("alert")).to_contain_text("Incident 0123abcd")
    assert await find_violations(tab.page) == []

    await tab.page.get_by_role("button", name="Try again").click()

    await expect(tab.page.locator(".admin-card")).to_be_visible()


@pytest.mark.parametrize(("path", "shown"), [("/admin", ".admin-card"), ("/models", ".models-card")])
async def test_what_an_outage_hid_is_loaded_when_the_server_is_back(server, tab, path, shown):
    await tab.page.route(re.compile("/healthz|/admin/(people|models)$"), lambda route: route.abort())
    await tab.open(server.url, path)
    await expect(tab.page.get_by_role("alert")).to_contain_text("is not responding")
    assert await find_violations(tab.page) == []

    await tab.page.unroute_all()

    await expect(tab.page.locator(shown).first).to_be_visible()
    await expect(tab.page.get_by_role("alert")).to_have_count(0)


async def test_tabs_have_addresses_and_keys(server, tab, keys):
    await open_tab(tab, server, keys[0], "people")
    await tab.page.get_by_role("link", name="Devices").press("Enter")
    await expect(tab.page.locator("[data-device=cpu]")).to_contain_text("Ready")
    assert tab.page.url.endswith("?tab=devices")
    await expect(tab.page.get_by_role("meter", name="Memory of cpu")).to_be_visible()
    await expect(tab.page.get_by_role("link", name="Devices")).to_be_focused()
    await tab.page.go_back()
    await expect(tab.page.get_by_role("link", name="People")).to_have_attribute("aria-current", "page")
    assert await measure_layout_shift(tab.page) < 0.02
    assert tab.errors == []


async def test_a_key_is_created_shown_once_and_revoked(server, tab, keys):
    await open_tab(tab, server, keys[0], "people")
    await tab.page.get_by_role("button", name="Create a key").click()
    dialog = tab.page.get_by_role("dialog", name="Create a key")
    await dialog.get_by_label("Who is it for?").fill("Bea")
    await dialog.get_by_label("What is it for?").fill("Bea's phone")
    assert await find_violations(tab.page) == []
    await dialog.get_by_role("button", name="Create key").press("Enter")
    link = await dialog.get_by_label("One-time link", exact=True).input_value()
    key = await dialog.get_by_label("Key", exact=True).input_value()
    await expect(dialog.get_by_role("img", name="QR code of the link")).to_be_visible()
    assert link.startswith(f"{server.url}/#key=")
    assert await find_violations(tab.page) == []
    await dialog.get_by_role("button", name="Copy: Key").click()
    await dialog.get_by_role("button", name="Done").click()
    async with open_client(server) as client:
        me = await client.get("/api/v1/me", headers={"Authorization": f"Bearer {key}"})
    assert me.json() == {"name": "Bea", "admin": False}
    card = tab.page.locator(".admin-card").filter(has_text="Bea")
    await expect(card).to_contain_text("Bea's phone")

    await card.get_by_role("button", name="Revoke").click()
    await tab.page.get_by_role("dialog").get_by_role("button", name="Revoke").click()

    await expect(card.get_by_role("button", name="Revoke")).to_have_count(0)
    assert key not in await tab.page.content()
    assert tab.errors == []


async def test_the_first_key_is_an_admins_own_and_signs_this_browser_in(server, tab):
    await tab.open(server.url, "/admin?tab=people")
    await tab.page.get_by_role("button", name="Create a key").click()
    dialog = tab.page.get_by_role("dialog", name="Create a key")
    await expect(dialog).to_contain_text("This is the first key")
    assert await find_violations(tab.page) == []

    await dialog.get_by_role("button", name="Create key").click()

    await expect(dialog.get_by_label("Key", exact=True)).to_be_visible()
    await dialog.get_by_role("button", name="Done").click()
    await expect(tab.page.locator(".admin-card")).to_contain_text("Admin")
    await tab.page.reload()
    await expect(tab.page.locator(".admin-card")).to_contain_text("Admin")
    assert [error for error in tab.errors if "401" not in error] == []


async def test_people_are_found_and_get_quotas(server, phone, keys, ann):
    await wait_for_end(ann, await imagine(ann, SECRET_WORDS))
    await open_tab(phone, server, keys[0], "people")
    await phone.page.get_by_role("searchbox").fill("an")
    await expect(phone.page.locator(".admin-card")).to_have_count(1)
    card = phone.page.locator(".admin-card")
    await expect(card).to_contain_text("of 5 device-seconds today")
    assert "q=an" in phone.page.url
    await card.get_by_role("button", name="Quota").click()
    dialog = phone.page.get_by_role("dialog", name="Quota of Ann")
    await dialog.get_by_text("Custom quota").click()
    await dialog.get_by_label("Device-seconds (0 blocks new jobs)").fill("")
    await dialog.get_by_role("button", name="Save").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("such as 600")
    assert await find_violations(phone.page) == []
    await dialog.get_by_label("Device-seconds (0 blocks new jobs)").fill("40")
    await dialog.get_by_role("button", name="Save").click()

    await expect(card).to_contain_text("of 40 device-seconds today · custom quota")
    await phone.page.get_by_role("searchbox").fill("nobody at all")
    await expect(phone.page.get_by_role("heading", name="No matching people")).to_be_visible()
    assert SECRET_WORDS not in await phone.page.content()
    assert phone.errors == []


async def test_a_person_is_blocked_and_unblocked_and_what_they_ask_for_is_refused(server, tab, keys, ann):
    await open_tab(tab, server, keys[0], "people", "&q=ann")
    card = tab.page.locator(".admin-card")
    await card.get_by_role("button", name="Block Ann", exact=True).click()
    question = tab.page.get_by_role("dialog", name="Block Ann?")
    await expect(question).to_contain_text("queued and running jobs are cancelled")
    assert await find_violations(tab.page) == []
    await question.get_by_role("button", name="Block", exact=True).press("Enter")
    await expect(card.locator(".tag", has_text="Blocked")).to_be_visible()
    assert await find_violations(tab.page) == []
    refused = await ann.post("/api/v1/jobs", json={"command": "imagine", "options": {"prompt": "a fox"}})
    assert "blocked you" in refused.json()["detail"]
    await card.get_by_role("button", name="Unblock Ann").click()

    await expect(card.locator(".tag", has_text="Blocked")).to_have_count(0)
    await expect(card.get_by_role("button", name="Block Ann", exact=True)).to_be_focused()
    await imagine(ann, SECRET_WORDS)
    assert tab.errors == []


async def test_everybodys_jobs_are_cancelled_without_reading_them(server, tab, keys, ann):
    job_id = await imagine(ann, f"slow {SECRET_WORDS}")
    await open_tab(tab, server, keys[0], "queue")
    row = tab.page.locator(f"[data-job='{job_id}']")
    await expect(row).to_contain_text("The prompt is private.")
    assert SECRET_WORDS not in await tab.page.content()
    assert await find_violations(tab.page) == []

    await row.get_by_role("button", name="Cancel Ann's job").click()
    await tab.page.get_by_role("dialog").get_by_role("button", name="Cancel job").click()

    assert (await wait_for_end(ann, job_id))["state"] == "cancelled"
    await expect(tab.page.get_by_role("heading", name="The queue is empty")).to_be_visible()
    assert tab.errors == []


async def test_figures_are_plots_and_tables(server, tab):
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    for minutes in range(0, 1200, 7):
        values = {"images": minutes % 5, "wait_p50_s": 1.0, "wait_p95_s": 3.0 + minutes % 11, "queued": 2, "running": 1}
        values |= {"memory_mb.cpu": 1000.0 + minutes, "memory_mb.cuda:0": 9000.0}
        await server.storage.metric_samples.save_samples(now - timedelta(minutes=minutes), values, keep_h=48)
    await tab.open(server.url, "/admin?tab=metrics")
    plot = tab.page.get_by_role("region", name="Queue time", exact=True)
    await expect(plot.get_by_role("img")).to_have_attribute("aria-label", re.compile("peak 13 s"))
    await plot.get_by_text("Show table").click()
    await expect(plot.get_by_role("table").get_by_role("row")).to_have_count(13)
    await expect(tab.page.get_by_role("region", name="Device memory", exact=True)).to_contain_text("cuda:0")
    await expect(tab.page.get_by_role("region", name="Failures")).to_contain_text("No data for the last 24 hours")
    await expect(tab.page.locator(".admin-part")).to_contain_text("Recorded since")

    assert await find_violations(tab.page) == []
    assert tab.errors == []


async def test_reports_are_read_dismissed_and_deleted(server, tab, keys, ann):
    person = await server.usecases.people.identify_account("discord", "7", "Rita")
    jobs = [await wait_for_end(ann, await imagine(ann, f"{SECRET_WORDS} {number}", seed=number)) for number in range(2)]
    for job in jobs:
        await server.usecases.reports.report_job(person, job["id"], reason="rude words")
    await open_tab(tab, server, keys[0], "reports")
    reports = tab.page.locator(".admin-card")
    await expect(reports).to_have_count(2)
    await expect(reports.first).to_contain_text(SECRET_WORDS)
    await expect(reports.first.get_by_role("img")).to_have_count(0)
    await reports.first.get_by_role("button", name="Show the picture").click()
    await expect(reports.first.get_by_role("img")).to_be_visible()
    assert await find_violations(tab.page) == []
    await reports.first.get_by_role("button", name="Dismiss").click()
    await expect(reports).to_have_count(1)
    await expect(reports.first.get_by_role("button", name="Show the picture")).to_be_focused()
    await tab.page.keyboard.press("z")
    await expect(reports).to_have_count(2)
    await reports.first.get_by_role("button", name="Dismiss").click()
    await tab.page.get_by_role("button", name="Close this message").last.click()

    await reports.first.get_by_role("button", name="Delete reported content").click()
    await tab.page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()

    await expect(tab.page.get_by_role("heading", name="No open reports")).to_be_visible()
    left = [(await ann.get(f"/api/v1/jobs/{job['id']}")).status_code for job in jobs]
    assert sorted(left) == [200, 404]
    await tab.page.get_by_role("link", name="Closed").click()
    await expect(reports).to_contain_text("Dismissed")
    assert SECRET_WORDS not in await tab.page.content()
    assert tab.errors == []


async def test_refusals_and_incidents_are_found_without_words(server, tab, keys, ann):
    await wait_for_end(ann, await imagine(ann, f"nude {SECRET_WORDS}"))
    failed = await wait_for_end(ann, await imagine(ann, f"fail {SECRET_WORDS}"))
    code = failed["error"]["incident"]
    logs = server.data_dir / "logs"
    logs.mkdir(exist_ok=True)
    (logs / "easel.log").write_text(json.dumps({"event": "a job failed", "incident": code}) + "\n")
    person, _ = await server.usecases.people.authenticate(keys[1])
    since = datetime.now(UTC) - timedelta(days=1)
    refused = {"platform": "telegram", "command": "imagine", "reason": "words", "keep": 9, "keep_since": since}
    await server.storage.refusals.add_refusal(person.id, **refused)
    await open_tab(tab, server, keys[0], "refused")
    await expect(tab.page.locator(".admin-card")).to_have_count(2)
    await expect(tab.page.locator(".admin-card").first).to_contain_text("imagine · Telegram · not accepted")
    await expect(tab.page.locator(".admin-card").last).to_contain_text("Ann")
    assert await find_violations(tab.page) == []
    await tab.page.get_by_role("link", name="Incidents").click()
    await tab.page.get_by_label("Incident code").fill(code)
    await tab.page.keyboard.press("Enter")

    await expect(tab.page.locator(".admin-log")).to_contain_text("a job failed")
    await expect(tab.page.get_by_role("link", name=f"Incident {code}")).to_be_visible()
    assert await find_violations(tab.page) == []
    await tab.page.get_by_label("Incident code").fill("ffffffff")
    await tab.page.keyboard.press("Enter")
    await expect(tab.page.get_by_role("heading", name="No incident has this code")).to_be_visible()
    assert SECRET_WORDS not in await tab.page.content()
    assert tab.errors == []


ENCODE = """async (text) => {
  const { encodeQr } = await import(`${document.documentElement.dataset.static}keys.js`);
  return encodeQr(text).map((row) => row.map(Number).join(""));
}"""


async def test_qr_codes_are_those_of_another_encoder(server, tab):
    await tab.open(server.url, "/admin")
    rows = await tab.page.evaluate(ENCODE, "easel")
    long_rows = await tab.page.evaluate(ENCODE, f"https://easel.example.org/#key={'x' * 43}")

    assert rows == KNOWN_CODE.split()
    assert len(long_rows) == 37
    with pytest.raises(Exception, match="too long"):
        await tab.page.evaluate(ENCODE, "x" * 413)


KNOWN_CODE = """
111111100110101111111 100000100101101000001 101110101000001011101 101110101001001011101 101110101110101011101
100000101001001000001 111111101010101111111 000000001010000000000 101111100011001111100 001011011101111000101
101011101000101101110 100101010101111001110 000001110100100101010 000000001000100100101 111111100111010011010
100000101100000111110 101110101001010010010 101110101011111101100 101110101010101101100 100000100111111101100
111111101010100010010
"""
"""Of "easel", by the Python package qrcode 8 with the same mask."""


async def test_a_model_is_trained_and_its_report_card_shown(server, phone, keys, tmp_path):
    trainer = server.usecases.trainings.trainer = FakeTrainer()
    trainer.go_on.clear()
    (tmp_path / "glyphs").mkdir()
    await open_tab(phone, server, keys[0], "training")
    page = phone.page
    await page.get_by_role("button", name="Train a model").click()
    form = page.get_by_role("dialog")
    await form.get_by_role("button", name="Train", exact=True).click()
    await expect(form.get_by_text("Name a folder with examples")).to_be_visible()
    assert await find_violations(page) == []

    await form.get_by_label("Folder on the server").fill(str(tmp_path / "glyphs"))
    await form.get_by_role("button", name="Train", exact=True).click()
    card = page.locator("[data-training=glyphs]")
    await expect(card.get_by_role("status")).to_contain_text("2 of 4")
    await expect(card.get_by_role("img", name="Loss of glyphs")).to_be_visible()
    assert await find_violations(page) == []
    trainer.go_on.set()

    report = page.locator("[data-adapter=glyphs]")
    await expect(report).to_contain_text("New: 0 of 20 before, 18 of 20 after")
    await expect(report).to_contain_text("Passed")
    await expect(report).to_contain_text("Requests can choose it with the option Adapter.")
    await report.get_by_text("Report card").click()
    await expect(report.get_by_role("cell", name="a lynx")).to_have_count(2)
    assert await find_violations(page) == []
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
    assert [error for error in phone.errors if "status of 409" not in error] == []


async def test_only_models_that_can_learn_are_offered_and_a_failure_to_list_them_is_shown(server, tab, keys):
    look = server.usecases.models.get("look")
    server.usecases.models.add_model(replace(look, name="chatty", tasks=(IMAGE_TEXT_TO_TEXT, *look.tasks)))
    await open_tab(tab, server, keys[0], "training")
    start = tab.page.get_by_role("button", name="Train a model")
    await expect(start).to_be_visible()
    broken = {"status": 500, "json": {"detail": "The database broke."}}
    await tab.page.route("**/api/v1/models", lambda route: route.fulfill(**broken), times=1)
    await start.click()
    await expect(tab.page.locator(".toast")).to_contain_text("The database broke.")
    await start.click()

    offered = tab.page.get_by_role("dialog").get_by_label("Model").locator("option")
    assert await offered.all_inner_texts() == ["The one in use", "look"]
