"""The progress line of the command line."""

import pytest

from adapters.cli.progress import format_job_progress


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
