"""The queue: order, waiting times, previews, cancelling with undo, what has just finished."""

import asyncio
import re

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.web.conftest import open_client
from tests.web.page.conftest import find_violations, measure_layout_shift

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module")
async def submit(server):
    """Submits a job; `slow` ones run until the test ends."""
    async with open_client(server) as client:

        async def submit(prompt, **options):
            options = {"prompt": prompt, "model": "paint", "steps": 4, **options}
            answer = await client.post("/api/v1/jobs", json={"command": "imagine", "options": options})
            assert answer.status_code == 202, answer.text
            return answer.json()["id"]

        yield submit
        server.pool.go_on.set()


async def wait_for_state(server, job_id, state):
    person = await server.usecases.people.local_person()
    async with asyncio.timeout(8):
        while (await server.usecases.jobs.get_ticket(person, job_id)).job.state.value != state:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def row(tab, job_id):
    return tab.page.locator(f".queue-row[data-job='{job_id}']")


async def test_jobs_are_listed_in_their_order_and_follow_events(server, tab, submit):
    first = await submit("slow fox in the snow")
    await wait_for_state(server, first, "running")
    second, third = await submit("a lighthouse"), await submit("an owl", count=2)
    await tab.open(server.url, "/queue")
    rows = tab.page.locator(".queue-row")

    await expect(rows).to_have_count(3)
    assert [await one.get_attribute("data-job") for one in await rows.all()] == [first, second, third]
    await expect(row(tab, first)).to_contain_text("Step 2 of 4")
    await expect(row(tab, first).locator("img")).to_be_visible()
    await expect(row(tab, first).get_by_role("progressbar")).to_have_attribute("max", "1")
    await expect(row(tab, second)).to_contain_text("Queued at position 1")
    await expect(row(tab, third)).to_contain_text("2 pictures")
    await expect(row(tab, third)).to_contain_text("done in")
    await expect(tab.page.get_by_role("status").filter(has_text="queued")).to_have_text("1 running · 2 queued")
    assert await find_violations(tab.page) == []
    assert await measure_layout_shift(tab.page) < 0.02
    fourth = await submit("a boat")
    await expect(rows).to_have_count(4)
    assert await rows.last.get_attribute("data-job") == fourth
    server.pool.go_on.set()
    await expect(tab.page.get_by_role("heading", name="Your queue is empty")).to_be_visible()
    done = tab.page.get_by_role("region", name="Just finished")
    await expect(done.get_by_role("link", name="slow fox in the snow")).to_have_attribute("href", f"/p/{first}/1")
    await expect(done.locator("img")).to_have_count(4)
    assert await find_violations(tab.page) == []
    assert tab.errors == []


async def test_waiting_times_count_down(server, tab, submit):
    await wait_for_state(server, await submit("slow fox"), "running")
    job_id = await submit("an owl", steps=50)
    await tab.page.clock.install()
    await tab.open(server.url, "/queue")
    before = await row(tab, job_id).locator(".queue-state .number").text_content()

    await tab.page.clock.run_for(3000)

    await expect(row(tab, job_id).locator(".queue-state .number")).not_to_have_text(before)


async def test_a_queued_job_is_cancelled_with_undo(server, tab, submit):
    await wait_for_state(server, await submit("slow fox"), "running")
    job_id = await submit("an owl")
    await tab.open(server.url, "/queue")
    await row(tab, job_id).get_by_role("button", name="Cancel").click()
    await expect(row(tab, job_id)).to_have_count(0)
    await expect(tab.page.get_by_role("button", name="Cancel slow fox")).to_be_focused()
    await tab.page.keyboard.press("z")
    await expect(row(tab, job_id)).to_be_visible()
    await row(tab, job_id).get_by_role("button", name="Cancel").click()
    assert await find_violations(tab.page) == []

    await tab.page.get_by_role("button", name="Close this message").last.click()

    await wait_for_state(server, job_id, "cancelled")
    await expect(row(tab, job_id)).to_have_count(0)
    assert tab.errors == []


async def test_a_withdrawn_job_is_cancelled_when_its_turn_comes_or_the_page_closes(server, tab, submit):
    running = await submit("slow fox")
    await wait_for_state(server, running, "running")
    starts, follows, leaves = [await submit(words) for words in ("slow owl", "slow hen", "a boat")]
    await tab.open(server.url, "/queue")
    await row(tab, starts).get_by_role("button", name="Cancel").click()
    await row(tab, running).get_by_role("button", name="Cancel").click()
    await wait_for_state(server, starts, "cancelled")
    await wait_for_state(server, follows, "running")
    await tab.page.keyboard.press("z")
    again = tab.page.locator(".queue-row").filter(has_text="slow owl")
    await expect(again).to_be_visible()
    assert await again.get_attribute("data-job") != starts
    await row(tab, leaves).get_by_role("button", name="Cancel").click()
    await expect(row(tab, leaves)).to_have_count(0)

    await tab.leave()

    await wait_for_state(server, leaves, "cancelled")


async def test_all_are_cancelled_and_the_keyboard_reaches_each(server, tab, submit):
    running = await submit("slow fox")
    await wait_for_state(server, running, "running")
    waiting = [await submit(f"owl {number}") for number in range(3)]
    await tab.open(server.url, "/queue")
    await tab.page.get_by_role("button", name="Cancel slow fox").focus()
    await tab.page.keyboard.press("ArrowDown")
    await expect(tab.page.get_by_role("button", name="Cancel owl 0")).to_be_focused()
    await tab.page.keyboard.press("Delete")
    await expect(row(tab, waiting[0])).to_have_count(0)
    await expect(tab.page.get_by_role("button", name="Cancel owl 1")).to_be_focused()
    await tab.page.keyboard.press("End")
    await expect(tab.page.get_by_role("button", name="Cancel owl 2")).to_be_focused()

    await tab.page.get_by_role("button", name="Cancel all").click()

    await wait_for_state(server, running, "cancelled")
    await expect(tab.page.get_by_role("heading", name="Your queue is empty")).to_be_visible()
    close = tab.page.get_by_role("button", name="Close this message")
    for left in reversed(range(await close.count())):
        await close.first.click()
        await expect(close).to_have_count(left)
    for job_id in waiting:
        await wait_for_state(server, job_id, "cancelled")
    assert tab.errors == []


async def test_an_empty_queue_and_a_failed_job_say_what_to_do(server, phone, submit):
    await phone.open(server.url, "/queue")
    await expect(phone.page.get_by_role("link", name="Create a picture")).to_be_visible()
    await expect(phone.page.get_by_role("link", name="Everyone's queue")).to_be_visible()
    assert await find_violations(phone.page) == []

    await submit("fail")

    await expect(phone.page.get_by_role("region", name="Just finished")).to_contain_text("fail")
    await expect(phone.page.locator(".queue-error")).to_be_visible()
    width = await phone.page.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    assert await find_violations(phone.page) == []
    assert phone.errors == []


async def test_the_queue_is_not_called_empty_before_it_is_known(server, tab, submit):
    await wait_for_state(server, await submit("slow fox"), "running")
    await tab.page.route(re.compile(r"/healthz|/jobs\?|/events"), lambda route: route.abort())
    await tab.open(server.url, "/queue")
    await expect(tab.page.get_by_role("heading", name="The queue has not loaded yet")).to_be_visible()
    assert await find_violations(tab.page) == []

    await tab.page.unroute_all()

    await expect(tab.page.get_by_role("heading", name="slow fox")).to_be_visible()
