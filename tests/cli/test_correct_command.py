"""`easel correct`, in this process and through a running server."""

import json
from contextlib import nullcontext

import pytest

from tests.cli.app_fixture import serving
from tests.cli.test_job_commands import MODES


@MODES
def test_a_correction_is_made_shown_withdrawn_and_deleted(mode, call, data_dir, fox):
    with serving(data_dir) if mode == "server" else nullcontext():
        job = json.loads(call("ask", str(fox), "what is this?", "--json").out)["id"]
        made = call("correct", job[:6], "a", "lynx")
        consented = call("correct", job, "a lynx", "--consent")
        shown = call("show", job)
        withdrawn = call("correct", job, "--withdraw")
        again = json.loads(call("correct", job, "--withdraw", "--json").out)
        deleted = [call("correct", job, "--delete") for _ in range(2)]
        left = json.loads(call("show", job, "--json").out)["correction"]
        too_late = call("correct", job, "--withdraw")

    assert (made.code, made.out) == (0, "Corrected: a lynx\nIt is not used for training.\n")
    assert f"may be used to train this server's models. `easel correct {job[:6]} --withdraw` withdraws" in consented.out
    assert "Corrected: a lynx\nSince 2" in shown.out
    assert "You withdrew your consent on 2" in withdrawn.out
    assert (again["text"], again["consent"], again["retired_adapters"]) == ("a lynx", False, [])
    assert [(one.code, one.out) for one in deleted] == [(0, "The correction is deleted.\n")] * 2
    assert left is None
    assert (too_late.code, too_late.err) == (
        2,
        "easel: This job has no correction, so there is no consent to withdraw.\n",
    )


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["aaaaaaaa", "a lynx"], 1, "You have no job called aaaaaaaa."),
        (["aaaaaaaa", "--delete"], 1, "You have no job called aaaaaaaa."),
        (["../x", "a lynx"], 2, "is no job id"),
        (["aaaaaaaa"], 2, "TEXT is missing: say what it should have been."),
        (["aaaaaaaa", "--consent"], 2, "TEXT is missing"),
        (["aaaaaaaa", "--withdraw", "--delete"], 2, "Give either --withdraw or --delete, not both."),
        (["aaaaaaaa", "a lynx", "--withdraw"], 2, "--withdraw needs only the job"),
        (["aaaaaaaa", "--delete", "--consent"], 2, "--delete needs only the job"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_sentence(call, words, code, sentence):
    result = call("correct", *words)

    assert (result.code, result.out) == (code, "")
    assert sentence in result.err


def test_a_picture_that_was_drawn_has_nothing_to_correct(call):
    job = json.loads(call("imagine", "a red circle", "--json").out)["id"]
    result = call("correct", job, "a lynx")

    assert (result.code, result.err) == (2, "easel: Only captions and answers about one picture can be corrected.\n")
