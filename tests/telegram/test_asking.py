"""Asking for pictures and answers: commands, captions, albums, replies."""

import pytest

from tests.telegram.town import words_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_the_placeholder_says_where_the_job_stands_and_becomes_the_picture(town, chat, ann):
    asked = town.world.say(chat, ann, "/imagine a slow fox --seed 7")

    placeholder = await town.answer(chat)
    town.pool.go_on.set()
    finished = await town.picture(chat)

    assert placeholder["message_id"] == finished["message_id"]
    assert "Queued" in words_of(town.world.history[chat["id"], placeholder["message_id"]][0])
    assert placeholder["reply_to_message"]["message_id"] == asked["message_id"]
    assert "a slow fox" in finished["caption"]
    assert "seed 7" in finished["caption"]
    assert len(town.world.shown(chat)) == 1
