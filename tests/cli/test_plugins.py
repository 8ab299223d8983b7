"""`easel plugins`: the same with and without a running server, but that nothing runs without one."""

import json
from contextlib import nullcontext

import pytest

from tests.cli.app_fixture import serving
from tests.plugins.chat_plugin import CODE
from tests.plugins.plugin_fixture import PluginFolder

BOTH = pytest.mark.parametrize("open_mode", [nullcontext, serving], ids=["local", "server"])
BROKEN = "def easel_promt(prompt): ..."


@BOTH
def test_a_plugin_is_begun_switched_and_listed(open_mode, call, data_dir):
    with open_mode(data_dir):
        begun = call("plugins", "new", "my-words")
        on = call("plugins", "enable", "my-words")
        off = json.loads(call("plugins", "disable", "my_words", "--json").out)
        listed = json.loads(call("plugins", "list", "--json").out)["plugins"]

    path = data_dir / "plugins" / "my_words.py"
    assert begun.out == f"{path}\n"
    assert "plugins enable my-words" in begun.err
    assert on.out == f"my-words is {'on' if open_mode is nullcontext else 'running'}.\n"
    assert (off["enabled"], off["running"]) == (False, False)
    assert [one["name"] for one in listed] == ["my-words"]
    assert "[plugins.my-words]\nenabled = false" in (data_dir / "config.toml").read_text()


@BOTH
def test_what_is_wrong_with_a_plugin_is_said(open_mode, call, data_dir):
    (data_dir / "plugins").mkdir()
    (data_dir / "plugins" / "typo.py").write_text(BROKEN)

    with open_mode(data_dir):
        on = call("plugins", "enable", "typo")
        table = call("plugins", "list")

    sentence = "There is no hook easel_promt. Did you mean easel_prompt?"
    assert (on.code, on.err.count(sentence), table.err.count(sentence)) == (1, 1, 1)
    assert "not used" in table.out


@BOTH
def test_an_unknown_plugin_is_refused(open_mode, call, data_dir):
    with open_mode(data_dir):
        refused = call("plugins", "enable", "none")

    assert refused.code == 1
    assert refused.err == "easel: There is no plugin none. `easel plugins list` shows them.\n"


@BOTH
def test_a_command_of_a_plugin_is_run_as_it_is_typed_in_chats(open_mode, call, data_dir, tmp_path):
    PluginFolder(data_dir).write("chatty", CODE)

    with open_mode(data_dir):
        drawn = call("plugins", "run", "poster", "Jazz night --mood wild", "--out", str(tmp_path / "poster.png"))
        rolled = call("plugins", "run", "dice", "--sides", "20")
        as_json = call("plugins", "run", "dice", "--json")
        refused = [
            call("plugins", "run", *words) for words in (["poster", "no"], ["dice", "--sides", "x"], ["nothing"])
        ]

    assert (drawn.code, drawn.out) == (0, f"{tmp_path / 'poster.png'}\n")
    assert rolled.out in ("cli rolled 20.\n", "web rolled 20.\n")
    assert json.loads(as_json.out)["text"].endswith("rolled 6.")
    assert [one.code for one in refused] == [1, 2, 2]
    assert "No posters today." in refused[0].err
    assert "sides is \u201cx\u201d, but must be a whole number." in refused[1].err
    assert "Unknown command nothing." in refused[2].err


def test_without_plugins_the_list_says_how_to_begin_one(call, data_dir):
    assert f"There are no plugins in {data_dir / 'plugins'}." in call("plugins", "list").err


@pytest.mark.parametrize(("name", "code"), [("a b", 2), ("order", 2), ("../x", 2), ("taken", 1)])
def test_a_name_that_cannot_be_used_is_refused(call, data_dir, name, code):
    call("plugins", "new", "taken")

    refused = call("plugins", "new", name)

    assert refused.code == code
    assert len(refused.err.splitlines()) == 1
