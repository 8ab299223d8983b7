"""A one-time link signs its first visitor in, leaves nothing of itself in the address, and then is used up."""

import pytest
from playwright.async_api import expect

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]


async def test_a_link_signs_in_once_and_replaces_nobody(server, tab):
    people, links = server.usecases.people, server.usecases.key_links
    key, _ = await people.create_key("Ada", is_admin=False)
    token, _ = await links.create_link(key.prefix)
    await tab.page.goto(f"{server.url}/#key={token}")
    await expect(tab.page.locator("body[data-shell]")).to_be_attached()
    assert tab.page.url == f"{server.url}/"
    me = await tab.page.evaluate("fetch('/api/v1/me').then((answer) => answer.json())")
    other, _ = await people.create_key("Eve", is_admin=False)
    theirs, _ = await links.create_link(other.prefix)
    await tab.leave()
    await tab.page.goto(f"{server.url}/#key={theirs}")
    await expect(tab.page.locator(".toast")).to_contain_text("already signed in")
    still = await tab.page.evaluate("fetch('/api/v1/me').then((answer) => answer.json())")

    assert me["name"] == still["name"] == "Ada"
    assert tab.errors == []
    await tab.page.evaluate("localStorage.clear()")
    await tab.page.context.clear_cookies()
    await tab.leave()
    await tab.page.goto(f"{server.url}/#key={token}")
    await expect(tab.page.locator(".toast")).to_contain_text("used before or has expired")
    await expect(tab.page.get_by_label("API key", exact=True)).to_be_visible()
