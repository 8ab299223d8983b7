"""The progress line of the command line."""

import io

import pytest

from adapters.cli.progress import JobProgressLine, format_job_progress, format_partial_answer


def progress_of(phase, step=0, steps=150):
    return {"phase": phase, "step": step, "steps": steps}


@pytest.mark.parametrize(
    ("state", "progress", "eta_s", "line"),
    [
        ("queued", progress_of("waiting", steps=0), 23.0, "Queued at position 1, about 23 s left."),
        ("running", None, None, "Starting."),
        ("running", progress_of("waiting"), None, "Starting."),
        ("running", progress_of("loading"), 23.0, "Loading the model, about 23 s left."),
        ("running", progress_of("loading"), None, "Loading the model."),
        ("running", progress_of("running", 5), 3.0, "Step 5 of 150, about 3 s left."),
        ("running", progress_of("finishing", 150), 0.0, "Finishing."),
        ("delivered", None, None, "Done."),
    ],
)
def test_a_line_says_what_the_job_is_doing(state, progress, eta_s, line):
    assert format_job_progress({"state": state, "position": 1, "progress": progress, "eta_s": eta_s}) == line


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_an_answer_is_shown_on_a_terminal_as_it_grows():
    job = {"state": "running", "eta_s": None, "progress": {**progress_of("running", 5), "text": "a red\nfox"}}
    shown, plain = Terminal(), io.StringIO()
    for stream in (shown, plain):
        with JobProgressLine(stream) as line:
            line.show_job(job)

    assert shown.getvalue() == "\r\x1b[Ka red fox ...\r\x1b[K"
    assert plain.getvalue() == "Step 5 of 150.\n"


def test_of_a_long_answer_the_end_is_shown_in_one_line_without_control_characters():
    line = format_partial_answer("word " * 40 + "\x1b[31mred", 30)

    assert (len(line), line) == (30, "...  word word \\x1b[31mred ...")


def test_wide_letters_of_an_answer_take_two_columns():
    line = format_partial_answer("\u72d0" * 40, 30)

    assert line == f"... {chr(0x72D0) * 11} ..."
