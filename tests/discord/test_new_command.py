"""A new command on Discord, without a change there."""

from tests.new_command import ANSWER, registered  # noqa: F401 - a fixture for all of this module
from tests.web.fake_pool import picture


async def test_a_new_command_is_registered_with_its_options_and_answers(app, server, ann):
    listed = {one["name"]: one for one in server.state.commands}["palette"]
    ann.slash("palette", image=server.state.file("a.png", picture(3, 48, 32)), shades=2)
    message = await ann.finished()

    assert message.content.startswith(ANSWER)
    assert listed["description"] == "Name the colours of a picture"
    assert [one["name"] for one in listed["options"]] == ["image", "shades", "preset", "seed", "adapter", "model"]
