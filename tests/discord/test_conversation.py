"""The conversation: placeholder, result, buttons, replies."""

from tests.discord.house import House
from tests.discord.people import Actor, until


async def test_a_prompt_becomes_an_ordinary_message_with_the_picture(house: House, ann: Actor) -> None:
    asked = ann.slash("imagine", prompt="a red fox", seed=7)

    message = await ann.finished()

    assert asked.answers[0] == {"type": 5, "data": {"flags": 64}}
    assert message.webhook is None
    assert message.attachments[0].data.startswith(b"\x89PNG")
    assert message.attachments[0].description == "a red fox"
    assert "a red fox" in message.content
    await until(lambda: not asked.messages, "the deferral to go")
