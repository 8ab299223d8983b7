"""One slow thing of a person never holds their other commands and buttons."""

import asyncio
import time

import pytest

from adapters.discord import attachments
from tests.discord.app_fixture import DiscordApp
from tests.discord.simulated_users import SimulatedUser, is_finished, until
from tests.discord.test_conversation import a_photo, imagine_and_wait


@pytest.fixture
async def hanging_files(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Discord's files do not come until this is set."""
    go_on = asyncio.Event()
    monkeypatch.setattr(attachments.AttachmentFetcher, "_fetch_once", _fetch_after(go_on))
    return go_on


def _fetch_after(go_on: asyncio.Event):
    fetch = attachments.AttachmentFetcher._fetch_once

    async def fetch_once(self, url: str, max_bytes: int) -> bytes:
        await go_on.wait()
        return await fetch(self, url, max_bytes)

    return fetch_once


async def test_photos_that_do_not_come_hold_no_command_and_no_button(
    app: DiscordApp, ann: SimulatedUser, hanging_files: asyncio.Event
) -> None:
    made = await imagine_and_wait(ann)
    slow = [ann.slash("caption", image=a_photo(app.server, seed=seed)) for seed in range(4)]
    await until(lambda: all(one.answers for one in slow), "the deferrals")
    began = time.monotonic()

    listed, pressed = ann.slash("queue"), ann.press(made, "reroll")
    await ann.private_reply(listed)
    await ann.finished(2)

    assert time.monotonic() - began < 15
    assert all((one.answered_after_s or 9) < 3 for one in (*slow, listed, pressed))
    hanging_files.set()
    await until(lambda: len([one for one in ann.channel.from_bot if is_finished(one)]) == 6, "the captions")


async def test_a_file_that_can_never_be_fetched_is_tried_a_few_times_and_said(
    app: DiscordApp, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "RETRY_S", 0.01)
    app.server.rest.cdn_failures = 1000

    asked = ann.slash("caption", image=a_photo(app.server))

    assert "couldn't download the picture" in await ann.private_reply(asked)
    assert app.server.rest.cdn_failures == 1000 - attachments.MAX_TRIES


async def test_a_page_instead_of_a_file_is_not_taken_for_a_picture(
    app: DiscordApp, ann: SimulatedUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachments, "RETRY_S", 0.01)
    photo = a_photo(app.server)
    real, photo.data, photo.content_type = photo.data, b"<html>Access denied</html>", "text/html"
    asked = ann.slash("caption", image=photo)
    told = await ann.private_reply(asked)
    photo.data, photo.content_type = real, "image/png"

    assert "couldn't download the picture" in told
