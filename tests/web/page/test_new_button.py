"""A new command on the page, without a change there."""

import pytest
from playwright.async_api import expect

from tests.new_command import ANSWER, registered  # noqa: F401 - a fixture for all of this module
from tests.web.fake_pool import picture

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]


async def test_a_new_command_is_a_button_beside_a_photo(server, tab):
    boat = {"name": "boat.png", "mimeType": "image/png", "buffer": picture(3, 48, 32)}
    await tab.open(server.url)
    await tab.page.locator(".create-modes label", has_text="Ask").click()
    await tab.page.locator("#create-file").set_input_files(files=[boat])

    await tab.page.get_by_role("button", name="Palette").click()

    await expect(tab.page.locator(".answers-text")).to_have_text(ANSWER)
    await expect(tab.page.locator(".answers-question")).to_have_text("Palette")
    assert tab.errors == []
