"""A new command on the command line, without a change there."""

import json

from tests.new_command import ANSWER, registered  # noqa: F401 - a fixture for all of this module


def test_a_new_command_has_its_help_its_options_and_its_answer(call, fox):
    listed, help_text = call("--help"), call("palette", "--help")
    answered = call("palette", str(fox), "--shades", "2", "--json")

    assert "Name the colours of a" in listed.out
    assert "--shades" in help_text.out
    assert answered.code == 0
    body = json.loads(answered.out)
    assert (body["command"], body["options"]["shades"], body["result"]["text"]) == ("palette", 2, ANSWER)
    assert call("palette", str(fox), "--shades", "10").code == 2
