"""Plugins on the page: an admin sees and switches them, and everybody sees what they show, as plain text."""

import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.plugins.plugin_fixture import PluginFolder
from tests.web.page.conftest import find_violations

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]

CODE = """
    from bot.plugins import Panel, PluginCommand

    def easel_page_panels(viewer):
        rows = [("Pictures <b>today</b>", "3")]
        owners = Panel(title="For owners", text="`x`\\ny", for_admins=True)
        return [Panel(title="Counters", text="Since midnight\\nUTC", rows=rows), owners]

    def easel_commands():
        return [PluginCommand(name="dice", summary="Roll", run=lambda call: "4", answers="text")]
"""


@pytest_asyncio.fixture(loop_scope="module")
async def folder(server):
    folder = PluginFolder(server.data_dir)
    folder.write("counters", CODE)
    folder.write("typo", "def easel_promt(prompt): ...")
    manager = server.usecases.plugins.manager
    await manager.set_enabled("counters", True)
    await manager.set_enabled("typo", True)
    yield folder
    await manager.set_enabled("counters", False)


async def test_an_admin_sees_what_became_of_plugins_and_switches_one_off(server, tab, folder):
    await tab.open(server.url, "/admin?tab=plugins")
    card = tab.page.locator("[data-plugin=counters]")
    broken = tab.page.locator("[data-plugin=typo]")

    await expect(card).to_contain_text("Running")
    await expect(card).to_contain_text("/dice")
    await expect(broken).to_contain_text("There is no hook easel_promt. Did you mean easel_prompt?")
    await expect(broken).not_to_contain_text("Last error")
    assert await tab.page.get_by_role("region", name="For owners").locator("p").inner_text() == "`x`\ny"
    assert await find_violations(tab.page) == []
    await card.get_by_role("button", name="Switch off counters").click()
    await expect(card.get_by_role("button", name="Switch on counters")).to_be_visible()
    await expect(tab.page.get_by_role("region", name="For owners")).to_have_count(0)
    assert tab.errors == []


async def test_everybody_sees_panels_as_plain_text(server, tab, folder):
    await tab.open(server.url, "/queue")
    panel = tab.page.get_by_role("region", name="Counters")

    assert await panel.locator("p").inner_text() == "Since midnight\nUTC"
    await expect(panel.locator("dt")).to_have_text("Pictures <b>today</b>")
    await expect(tab.page.get_by_role("region", name="For owners")).to_have_count(0)
    assert await find_violations(tab.page) == []
    assert tab.errors == []


async def test_commands_of_plugins_leave_the_page_as_it_is(server, tab, folder):
    await tab.open(server.url, "/gallery")

    await expect(tab.page.get_by_label("Kind")).to_be_visible()
    assert "dice" not in await tab.page.get_by_label("Kind").inner_text()
    assert tab.errors == []
