"""Webhooks in Admin: how far their events are, and a test event."""

import pytest
import pytest_asyncio
from playwright.async_api import expect

from bot.usecases import Operations
from tests.web.page.conftest import find_violations

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]
ADDRESS = "/admin?tab=server"


@pytest_asyncio.fixture(loop_scope="module")
async def webhooks(server, monkeypatch):
    """One that accepts what it is sent, and one that does not."""
    names = server.usecases.operations.webhooks
    monkeypatch.setitem(names, "studio", "studio.example")
    monkeypatch.setitem(names, "old-machine", "a-long-name-of-a-machine-in-the-cellar.network.studio.example:9000")

    async def test_webhook(operations, name):
        return "" if name == "studio" else "HTTP 500"

    monkeypatch.setattr(Operations, "test_webhook", test_webhook)


async def test_an_admin_tests_webhooks_and_reads_what_they_answered(server, tab, webhooks):
    await tab.open(server.url, ADDRESS)
    card = tab.page.locator("[data-webhook=studio]")
    messages = tab.page.get_by_role("region", name="Messages")

    await expect(card).to_contain_text("studio.example")
    assert await find_violations(tab.page) == []
    await card.get_by_role("button", name="Send studio a test event").click()
    await expect(messages).to_contain_text("studio accepted the test event.")
    await tab.page.get_by_role("button", name="Send old-machine a test event").click()
    await expect(messages).to_contain_text("old-machine did not accept the test event: HTTP 500.")
    assert tab.errors == []


async def test_long_names_of_hosts_fit_on_a_phone(server, phone, webhooks):
    await phone.open(server.url, ADDRESS)

    await expect(phone.page.locator("[data-webhook=old-machine]")).to_be_visible()
    assert await find_violations(phone.page) == []
    assert await phone.page.evaluate("document.documentElement.scrollWidth") <= 390


async def test_without_webhooks_there_is_no_section(server, tab):
    async with tab.page.expect_response("**/admin/webhooks"):
        await tab.open(server.url, ADDRESS)

    await expect(tab.page.get_by_role("region", name="Storage", exact=True)).to_be_visible()
    await expect(tab.page.get_by_role("heading", name="Webhooks")).to_have_count(0)
    assert tab.errors == []
