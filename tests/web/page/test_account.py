"""The dialog of the account: linking by a code from either side, unlinking, quota, the download of one's pictures."""

import pytest
import pytest_asyncio
from playwright.async_api import expect

from bot.errors import Unauthorized
from tests.web.page.conftest import find_violations

pytestmark = [pytest.mark.page, pytest.mark.asyncio(loop_scope="module")]


async def open_account(tab):
    await tab.page.get_by_role("button", name="Account").click()
    await tab.page.get_by_role("button", name="Linked accounts and data").click()
    dialog = tab.page.get_by_role("dialog", name="Your account")
    await expect(dialog.get_by_role("heading", name="Linked accounts")).to_be_visible()
    return dialog


@pytest_asyncio.fixture(loop_scope="module")
async def bob(server):
    """The key of somebody, and what a code from a chat is."""
    return await server.create_key("bob")


async def discord_code(server):
    person = await server.usecases.people.identify_account("discord", "1", "Ann")
    return (await server.usecases.links.create_code(person)).text


async def sign_in(tab, server, key):
    await tab.page.goto(f"{server.url}/queue")
    await tab.sign_in(key)
    await expect(tab.page.get_by_role("heading", name="Queue", exact=True)).to_be_visible()


async def test_a_code_for_a_chat_links_once_it_is_written_there(server, tab, bob):
    await sign_in(tab, server, bob)
    dialog = await open_account(tab)
    await expect(dialog).to_contain_text("of 5 device-seconds used")
    assert await find_violations(tab.page) == []
    await dialog.get_by_role("button", name="Get a code for a chat").press("Enter")
    await expect(dialog.get_by_role("button", name="Copy for Discord")).to_be_focused()
    shown = await dialog.locator(".account-code code").all_text_contents()
    assert shown[0].startswith("/link code:")
    assert await find_violations(tab.page) == []
    await dialog.get_by_role("button", name="I have sent it").click()
    message = dialog.locator(".toast")
    await expect(message).to_contain_text("Nothing is linked yet.")
    await message.get_by_role("button", name="Close this message").click()
    await expect(message).to_have_count(0)
    assert await find_violations(tab.page) == []
    ann = await server.usecases.people.identify_account("discord", "1", "Ann")
    await server.usecases.links.link(ann, "discord:1", shown[1].removeprefix("/link "))

    await tab.page.evaluate("window.dispatchEvent(new Event('focus'))")

    await expect(dialog.get_by_role("button", name="Unlink Ann on Discord")).to_be_visible()
    await expect(dialog.get_by_role("button", name="Get a code for a chat")).to_be_visible()
    assert tab.errors == []


async def test_a_code_from_a_chat_shows_what_is_merged_before_it_links(server, phone, bob):
    await sign_in(phone, server, bob)
    dialog = await open_account(phone)
    await dialog.get_by_role("button", name="I have a code from a chat").click()
    field = dialog.get_by_label("Code", exact=True)
    await expect(field).to_be_focused()
    await dialog.get_by_role("button", name="Preview merge").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("Enter the code")
    await field.fill("0000-0000")
    await phone.page.keyboard.press("Enter")
    await expect(dialog.get_by_role("alert")).to_be_visible()
    await expect(field).to_have_value("0000-0000")
    assert await find_violations(phone.page) == []
    await field.fill(await discord_code(server))
    await phone.page.keyboard.press("Enter")
    await expect(dialog).to_contain_text("Discord: Ann")
    await expect(dialog).to_contain_text("The combined quota is 5 device-seconds a day")
    await expect(dialog.get_by_role("button", name="Link accounts")).to_be_focused()
    assert await find_violations(phone.page) == []
    await phone.page.keyboard.press("Enter")
    await expect(dialog.get_by_role("button", name="Unlink Ann on Discord")).to_be_visible()

    await dialog.get_by_role("button", name="Unlink Ann on Discord").click()
    await phone.page.get_by_role("dialog").last.get_by_role("button", name="Unlink").click()

    await expect(dialog.get_by_role("button", name="Unlink Ann on Discord")).to_have_count(0)
    assert await phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert [error for error in phone.errors if "/api/v1/link" not in error] == []


async def test_ones_pictures_are_downloaded_and_an_outage_is_said(server, tab):
    await tab.open(server.url, "/queue")
    await tab.page.route("**/api/v1/link", lambda route: route.abort(), times=1)
    dialog = await open_account(tab)
    await expect(dialog.get_by_role("alert")).to_contain_text("is not responding")
    assert await find_violations(tab.page) == []
    await dialog.get_by_role("button", name="Try again").click()
    await expect(dialog).to_contain_text("This computer")

    async with tab.page.expect_download() as download:
        await dialog.get_by_role("button", name="Download all pictures").click()

    assert (await download.value).suggested_filename == "easel.zip"
    await tab.page.keyboard.press("Escape")
    await expect(dialog).to_have_count(0)


async def test_signing_out_everywhere_ends_the_other_browser_within_one_event(server, tab, phone, bob):
    await sign_in(tab, server, bob)
    await sign_in(phone, server, bob)
    dialog = await open_account(tab)
    await dialog.get_by_role("button", name="Sign out everywhere").click()
    question = tab.page.get_by_role("dialog", name="Sign out everywhere?")
    assert await find_violations(tab.page) == []
    await question.get_by_role("button", name="Cancel").click()
    await expect(question).to_have_count(0)
    await dialog.get_by_role("button", name="Sign out everywhere").click()
    await question.get_by_role("button", name="Sign out everywhere").press("Enter")

    await tab.page.wait_for_url(f"{server.url}/")
    await expect(tab.page.get_by_role("heading", name="Sign in to Easel")).to_be_visible()
    await expect(phone.page.get_by_role("heading", name="Your session has ended")).to_be_visible()
    await tab.sign_in(bob)  # the key is as good as before
    await expect(tab.page.get_by_role("textbox", name="Prompt")).to_be_visible()


async def test_everything_is_deleted_once_that_is_confirmed_for_all_linked_accounts(server, phone, bob):
    usecases = server.usecases
    person, _ = await usecases.people.authenticate(bob)
    await usecases.links.link(person, "web:bob", await discord_code(server))
    await sign_in(phone, server, bob)
    dialog = await open_account(phone)
    await expect(dialog.get_by_role("button", name="Unlink Ann on Discord")).to_be_visible()
    await dialog.get_by_role("button", name="Delete everything about me").click()
    question = phone.page.get_by_role("dialog", name="Delete everything about me?")
    await expect(question).to_contain_text("Discord: Ann")
    await question.get_by_role("button", name="Delete everything").click()
    await expect(question.get_by_role("alert")).to_contain_text("Tick the box")
    assert await find_violations(phone.page) == []
    assert await phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    await question.get_by_label("Yes, delete everything about me").check()
    await phone.page.route("**/api/v1/me", lambda route: route.abort(), times=1)
    await question.get_by_role("button", name="Delete everything").click()
    await expect(question.get_by_role("alert")).to_contain_text("is not responding")
    await question.get_by_label("Yes, delete everything about me").check()
    await question.get_by_role("button", name="Delete everything").press("Enter")

    await phone.page.wait_for_url(f"{server.url}/")
    await expect(phone.page.get_by_role("heading", name="Sign in to Easel")).to_be_visible()
    await expect(phone.page.get_by_role("status").first).to_have_text(
        "Everything about you on this server was deleted."
    )
    with pytest.raises(Unauthorized):
        await usecases.people.authenticate(bob)
    assert (await usecases.people.identify_account("discord", "1", "Ann")).id != person.id
