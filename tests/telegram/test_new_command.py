"""A new command in Telegram, without a change there."""

import pytest

from tests.new_command import ANSWER, registered  # noqa: F401 - a fixture for all of this module
from tests.web.fake_pool import picture

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_a_new_command_is_understood_as_a_caption_and_listed(app, chat, ann):
    app.state.send_photo(chat, ann, picture(3, 48, 32), caption="/palette --shades 2")
    await app.message_with(chat, ANSWER)
    task = app.pool.tasks[-1]
    app.state.send_message(chat, ann, "/help")
    await app.message_with(chat, "Name the colours of a picture", 2)

    assert (task.command, task.options["shades"]) == ("palette", 2)
