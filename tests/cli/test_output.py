"""Tables: aligned with headings on a terminal, plain and unwrapped in a pipe; sentences shared with the chats."""

import sys

import pytest

from adapters.cli.output import print_aligned, print_table, with_image_wording

HEADINGS = ("Name", "Tasks", "Source")
LONG = "/models/" + "very-long-folder-name/" * 10
ROWS = [
    ("starter-image", "text-to-image (default), image-to-image (default)", LONG),
    ("日本 [bold]:smile:", "image-to-text", "org/name"),
]


def use_terminal(monkeypatch):
    """A terminal of 60 columns."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("TERM", "xterm")


def test_a_table_in_a_pipe_is_plain_text_with_one_line_per_row(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    print_table(HEADINGS, ROWS)

    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading.split() == list(HEADINGS)
    assert first == f"starter-image       text-to-image (default), image-to-image (default)  {LONG}"
    assert second.split() == ["日本", "[bold]:smile:", "image-to-text", "org/name"]
    assert heading.index("Tasks") == first.index("text-to-image")


def test_a_table_on_a_terminal_has_a_rule_and_loses_nothing(capsys, monkeypatch):
    use_terminal(monkeypatch)
    print_table(HEADINGS, ROWS)

    lines = capsys.readouterr().out.splitlines()
    assert "\x1b[1m" in lines[0]
    assert set(lines[1].strip()) == {"─"}
    assert lines[2].startswith("starter-image ")
    assert max(map(len, lines[1:])) <= 60
    assert "".join(line[-22:].strip() for line in lines[2:]).count("very-long-folder-name") >= 1


def test_a_table_without_colour_has_no_escapes(capsys, monkeypatch):
    use_terminal(monkeypatch)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    print_table(HEADINGS, ROWS)

    assert "\x1b" not in capsys.readouterr().out


def test_a_long_text_wraps_under_its_first_word_on_a_terminal_only(capsys, monkeypatch):
    use_terminal(monkeypatch)
    text = "one two three four five six seven eight nine ten eleven twelve"
    print_aligned("warn", text, width=5)
    wrapped = capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    print_aligned("warn", text, width=5)

    assert wrapped == "  warn one two three four five six seven eight nine ten\n       eleven twelve\n"
    assert capsys.readouterr().out == f"  warn {text}\n"


@pytest.mark.parametrize(
    ("new", "old"), [(["models", "cancel", "fox"], "stop"), (["models", "unload"], "release")], ids=["stop", "release"]
)
def test_old_command_names_still_work_but_are_hidden(call, new, old):
    listed = call("models", "--help").out
    current, alias = call(*new), call(new[0], old, *new[2:])

    assert f"  {new[1]} " in listed
    assert f"  {old} " not in listed
    assert (alias.code, alias.out, alias.err) == (current.code, current.out, current.err)


def test_the_old_option_name_still_works_but_is_hidden(call, monkeypatch):
    forced = []

    async def use_model(_composition, _loaded, request, _confirm):
        forced.append(request.force)
        return 0

    monkeypatch.setattr("adapters.cli.models.install.use_model", use_model)
    for option in ("--force", "--anyway"):
        call("models", "use", "fox", option)
    help_text = call("models", "use", "--help").out

    assert forced == [True, True]
    assert "--force" in help_text
    assert "--anyway" not in help_text


def test_a_sentence_of_the_chats_says_image():
    assert with_image_wording("it cannot start from a picture") == "it cannot start from an image"
