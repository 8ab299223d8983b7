"""What a training keeps while it runs, so that one that people's jobs interrupt again and again ends nevertheless."""

import threading
from typing import Any

import pytest
import torch
from PIL import Image

from bot.errors import TrainingRefused
from inference.learning import replay
from inference.learning.image_comparison import render_samples
from inference.learning.replay import keep_answers
from inference.learning.training_loop import CHECKPOINT, LoopSettings, TrainingLoop, load_checkpoint
from tests.inference.learning.trainings import make_session, write_folder

ASKED = [(0, "what is this?"), (1, ""), (2, "what is it?"), (3, ""), (4, "what is this?")]


@pytest.fixture
def session(tmp_path):
    made = make_session(tmp_path)
    made.open_work("one")
    return made


class Answers:
    """Ends at its `last` call."""

    def __init__(self, last=9):
        self.last, self.calls = last, []

    def __call__(self, rows, done, total):
        if len(self.calls) == self.last:
            raise KeyboardInterrupt
        self.calls.append((list(rows), done, total))
        return [f"{image}: {question}" for image, question in rows]


def test_answers_are_kept_as_they_are_given(session, monkeypatch):
    monkeypatch.setattr(replay, "KEPT_TOGETHER", 2)
    first, second, whole = Answers(last=2), Answers(), Answers()
    with pytest.raises(KeyboardInterrupt):
        keep_answers(session, "replay.json", ASKED, first)
    resumed = keep_answers(session, "replay.json", ASKED, second)
    again = keep_answers(session, "replay.json", ASKED, Answers(last=0))

    assert resumed == again == keep_answers(session, "other.json", ASKED, whole)
    assert resumed == [f"{image}: {question}" for image, question in ASKED]
    assert first.calls + second.calls == whole.calls
    assert [(done, total) for _, done, total in whole.calls] == [(0, 5), (2, 5), (4, 5)]


class Painter:
    def __init__(self):
        self.rendered = []

    def render(self, prompt, seed, on_step):
        on_step()
        self.rendered.append((prompt, seed))
        return Image.new("RGB", (8, 8), (len(prompt), seed, 9))


@pytest.mark.parametrize(("kept", "rendered"), [(True, 2), (False, 4)])
def test_pictures_without_an_adapter_are_made_once(session, kept, rendered):
    painter: Any = Painter()
    samples = [render_samples(session, painter, ["a cat", ""], "testing", 0, 2, kept=kept) for _ in range(2)]

    assert len(painter.rendered) == rendered
    first, second = ([(one.prompt, one.seed, one.image.tobytes()) for one in group] for group in samples)
    assert first == second


def make_loop(place, loss, *, send=None, is_free=None, **settings):
    session = make_session(place, send=send, is_free=is_free)
    session.open_work("one")
    parameter = torch.nn.Parameter(torch.ones(2))
    chosen = LoopSettings(steps=4, learning_rate=0.1, **settings)
    return TrainingLoop(session, {"w": parameter}, chosen, lambda step, *_: loss(step, parameter))


def test_a_checkpoint_is_saved_before_people_take_the_device(tmp_path):
    is_free, found = threading.Event(), []
    is_free.set()

    def loss(step, parameter):
        if step == 1:
            is_free.clear()
        return parameter.square().sum()

    def send(progress):
        if progress.stage == "waiting":
            stored = load_checkpoint(tmp_path / "work" / "state" / CHECKPOINT)
            found.append(stored and stored["state"]["step"])
            is_free.set()

    make_loop(tmp_path, loss, send=send, is_free=is_free, save_before_waiting_s=0.0).run()

    assert found == [2]


def test_a_loss_that_is_no_number_ends_the_training_with_a_sentence(tmp_path):
    loop = make_loop(tmp_path, lambda step, parameter: parameter.sum() * (float("nan") if step else 1))
    with pytest.raises(TrainingRefused) as refused:
        loop.run()

    assert (refused.value.problem, loop.state.losses[-1][0]) == ("diverged", 1)


def test_of_a_large_replay_folder_no_more_images_are_opened_than_are_used(tmp_path, monkeypatch):
    folder = tmp_path / "known"
    folder.mkdir()
    for number in range(9):
        (folder / f"{number}.png").touch()
    (folder / "link.png").symlink_to(folder / "0.png")
    write_folder(tmp_path / "folder", 1)
    opened = []

    def can_open(_session, path):
        opened.append(path.name)
        return path.name != "3.png"

    monkeypatch.setattr(replay, "MAX_IMAGES", 4)
    monkeypatch.setattr(replay, "MIN_IMAGES", 2)
    monkeypatch.setattr(replay, "_can_open", can_open)
    trained, tested = replay.find_images(make_session(tmp_path, replay=str(folder)))

    assert len(trained) == len(tested) == 2
    assert len(opened) - opened.count("3.png") == 4
    assert "link.png" not in opened
