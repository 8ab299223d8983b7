"""A trial on a CPU finds out whether bfloat16 is quicker, with the task that it has to do anyway."""

from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, ClassVar

import pytest

from bot.error_texts import format_note
from bot.errors import ModelUnavailable
from bot.models import IMAGE_TO_TEXT, IMAGE_UPSCALING, VISUAL_QUESTION_ANSWERING
from bot.ports import Measurement, ModelCapabilities, Progress
from bot.problem_texts.model_problems import IN_BFLOAT16
from inference.engine.base import ImageReady
from inference.hardware.probe import has_bfloat16
from inference.ipc import messages
from inference.worker import format_trial, loop, model_cache
from inference.worker.format_trial import LEVELS, NEVER_S, FormatTrial, TrialRun, format_key, may_choose_format
from tests.inference.engines import TestEngine, flat_image
from tests.inference.support import make_model, make_task

STEP_S = {"float32": 0.6, "bfloat16": 0.3}
KEY = format_key(make_model(repo="/nowhere"))


class TwoFormats(TestEngine):
    """Computes in the format of its model, at the speed of `step_s`; in bfloat16 images are two levels brighter."""

    loads: ClassVar[list[str]] = []
    step_s: ClassVar[dict[str, float]] = STEP_S
    fault: ClassVar[str] = ""

    @property
    def capabilities(self) -> Any:
        return {**super().capabilities, "dtype": "float32" if self._model.dtype == "auto" else self._model.dtype}

    def load_model(self, device: str) -> None:
        if self.fault == "load" and self._model.dtype == "bfloat16":
            raise MemoryError
        self.loads.append(self._model.dtype)

    def step(self) -> Any:
        if self.fault == "step" and self._model.dtype == "bfloat16":
            raise RuntimeError("not implemented for 'BFloat16'")
        events = super().step()
        self._used = dict.fromkeys(self._used, self.step_s[self.capabilities["dtype"]])
        if self._model.dtype != "bfloat16":
            return events
        return [replace(one, image=_brighter(one.image)) if isinstance(one, ImageReady) else one for one in events]


def _brighter(image: messages.RawImage) -> messages.RawImage:
    return replace(image, pixels=bytes(value + 2 for value in image.pixels))


build = TwoFormats


class SentMessages(list[Any]):
    def send(self, message: object) -> None:
        self.append(message)

    def events(self, kind: type) -> list[Any]:
        return [one.event for one in self if isinstance(one, messages.TaskEvent) and isinstance(one.event, kind)]


class Child:
    """The loop of a child process, in this one."""

    def __init__(self, *measurements: Measurement) -> None:
        init = messages.Init(device="cpu", engine_factory=f"{__name__}:build", measurements=measurements)
        self.sent = SentMessages()
        self.loop = loop.WorkerLoop(self.sent, init, SimpleQueue())  # type: ignore[arg-type]

    def run(self, task: Any) -> messages.TaskEnded:
        self.loop._handle(messages.StartTask(task))
        while not self.loop._is_idle():
            self.loop._start_ready_tasks()
            for engine, tasks in self.loop._busy_engines():
                self.loop._step_engine(engine, tasks)
        ended = [one for one in self.sent if isinstance(one, messages.TaskEnded)]
        assert len({one.task_id for one in ended}) == len(ended)
        return ended[-1]


def find_files(model: Any) -> Path:
    if model.repo == ".":
        raise ModelUnavailable(model.name, "it has no files")
    return Path(model.repo)


@pytest.fixture(autouse=True)
def engine(monkeypatch):
    for module in (format_trial, model_cache):
        monkeypatch.setattr(module, "has_bfloat16_instructions", lambda: True)
    monkeypatch.setattr(format_trial, "model_path", find_files)
    monkeypatch.setattr(TwoFormats, "loads", [])
    monkeypatch.setattr(TwoFormats, "step_s", STEP_S)
    monkeypatch.setattr(TwoFormats, "fault", "")
    return TwoFormats


def trial(**overrides):
    return make_task(is_trial=True, options={"steps": 4, "seed": 0x101010}, **overrides)


def measured(full_s, half_s, model="test"):
    return tuple(
        Measurement(
            device="cpu",
            model=model,
            dtype="",
            shape=KEY,
            batch_size=1,
            what="format",
            seconds=seconds,
            backend=name,
        )
        for name, seconds in (("float32", full_s), ("bfloat16", half_s))
    )


def test_what_is_quicker_is_used_from_then_on_and_the_difference_is_reported(engine):
    child = Child()
    ended = child.run(trial())

    assert engine.loads == ["auto", "bfloat16"]
    assert [image.pixels[:3] for image in child.sent.events(messages.RawImage)] == [b"\x10\x10\x10"]
    [note] = ended.outcome.notes
    assert note.startswith(IN_BFLOAT16.removesuffix("{words}"))
    assert note.endswith(" 2.0x, 2/255")
    assert {one.dtype for one in child.sent.events(Measurement) if one.what == "step"} == {"float32", "bfloat16"}
    found = [(one.backend, one.seconds) for one in child.sent.events(Measurement) if one.what == "format"]
    assert [name for name, _ in found] == ["float32", "bfloat16"] * 2
    assert [seconds for _, seconds in found] == pytest.approx([0.6, NEVER_S, 0.6, 0.3])
    # the first two for the case that the second run ends the process

    child.run(make_task(id="next"))
    assert engine.loads == ["auto", "bfloat16"]


def test_owners_are_told_what_was_chosen_now_and_after_a_restart(engine):
    child = Child()
    child.run(trial())
    (chosen,) = child.sent.events(ModelCapabilities)
    child.run(make_task(id="next"))
    levels = [one for one in child.sent.events(Measurement) if one.what == LEVELS]
    later = Child(*measured(0.6, 0.3), *levels)
    later.run(make_task())

    found = {name: chosen.capabilities[name] for name in ("dtype", "dtype_gain", "dtype_levels")}
    assert found == {"dtype": "bfloat16", "dtype_gain": 2.0, "dtype_levels": 2}
    assert len(child.sent.events(ModelCapabilities)) == 1
    assert [one.seconds for one in levels] == [2.0]
    loaded = [one.capabilities for one in later.sent if isinstance(one, messages.ModelLoaded)]
    assert loaded == [chosen]


def test_where_bfloat16_is_not_quicker_float32_stays(engine, monkeypatch):
    monkeypatch.setattr(engine, "step_s", {"float32": 0.5, "bfloat16": 0.48})
    child = Child()

    assert child.run(trial()).outcome.notes == ()
    assert engine.loads == ["auto", "bfloat16", "auto"]


@pytest.mark.parametrize("fault", ["load", "step"])
def test_a_model_that_does_not_run_in_bfloat16_passes_its_trial_in_float32(engine, monkeypatch, fault):
    monkeypatch.setattr(engine, "fault", fault)
    child = Child()
    ended = child.run(trial())

    assert ended.outcome == messages.TaskResult(revision="test")
    assert engine.loads[-1] == "auto"
    assert child.run(make_task(id="next")).outcome == messages.TaskResult(revision="test")
    assert child.loop._models.measured_format(make_model()) == "float32"


def test_a_trial_that_is_cancelled_in_its_second_run_leaves_the_model_in_float32(engine):
    child = Child()
    child.loop._handle(messages.StartTask(trial()))
    child.loop._start_ready_tasks()
    while "bfloat16" not in engine.loads:
        [(busy, tasks)] = child.loop._busy_engines()
        child.loop._step_engine(busy, tasks)
    child.loop._handle(messages.CancelTask("job"))
    child.run(make_task(id="next"))

    assert child.sent[-1].outcome == messages.TaskResult(revision="test")
    assert engine.loads == ["auto", "bfloat16", "auto"]


def test_a_second_trial_of_the_model_does_not_repeat_it(engine):
    child = Child()
    child.run(trial())
    child.run(trial(id="image to image"))

    assert engine.loads == ["auto", "bfloat16"]


@pytest.mark.parametrize(
    ("measurements", "dtype"),
    [
        (measured(1.0, 0.5), "bfloat16"),
        (measured(1.0, 0.95), "auto"),
        (measured(1.0, 0.5)[1:], "auto"),
        (measured(1.0, 0.5, model="another"), "auto"),
        ((), "auto"),
    ],
)
def test_the_next_process_loads_what_trials_have_measured(engine, measurements, dtype):
    Child(*measurements).run(make_task())

    assert engine.loads == [dtype]


def test_other_weights_or_another_processor_are_tried_anew(engine, monkeypatch, tmp_path):
    weights = tmp_path / "unet.safetensors"
    weights.write_bytes(b"some")
    model = make_model(repo=str(tmp_path))
    child = Child()
    child.run(trial(model=model))
    found = child.sent.events(Measurement)
    engine.loads.clear()
    Child(*found).run(make_task(model=model))
    weights.write_bytes(b"more")
    Child(*found).run(make_task(model=model))
    weights.write_bytes(b"some")
    monkeypatch.setattr(format_trial, "processor_name", lambda: "another")
    Child(*found).run(trial(model=model))

    assert engine.loads == ["bfloat16", "auto", "auto", "bfloat16"]


def test_a_second_run_that_takes_much_longer_is_given_up(engine, monkeypatch):
    monkeypatch.setattr(engine, "step_s", {"float32": 0.5, "bfloat16": 50.0})
    child = Child()
    ended = child.run(make_task(is_trial=True, options={"steps": 20, "seed": 7}))
    steps = [event.step for event in child.sent.events(Progress)]

    assert ended.outcome == messages.TaskResult(revision="test")
    assert len(steps) < 20 + 5
    assert engine.loads == ["auto", "bfloat16", "auto"]


def test_what_follows_the_last_step_of_the_first_run_is_not_a_step_of_the_second(engine):
    """Both have one step."""
    child = Child()
    child.run(make_task(is_trial=True, options={"steps": 1, "seed": 7}))
    found = [one.seconds for one in child.sent.events(Measurement) if one.what == "format"][2:]

    assert found == pytest.approx([0.6, 0.3])


def test_without_its_instructions_what_was_measured_does_not_count(engine, monkeypatch):
    monkeypatch.setattr(model_cache, "has_bfloat16_instructions", lambda: False)
    Child(*measured(1.0, 0.5)).run(make_task())

    assert engine.loads == ["auto"]


@pytest.mark.parametrize(
    "overrides",
    [{"dtype": "float32"}, {"dtype": "bfloat16"}, {"demo": True}, {"backend": "openvino"}, {"quantize": "8bit"}],
    ids=str,
)
def test_the_owners_choice_and_demo_models_are_not_changed(engine, overrides):
    model = make_model(**overrides)
    Child(*measured(1.0, 0.1)).run(trial(model=model))

    assert engine.loads == [model.dtype]


def test_without_instructions_for_bfloat16_nothing_is_tried(engine, monkeypatch):
    monkeypatch.setattr(format_trial, "has_bfloat16_instructions", lambda: False)
    Child().run(trial())

    assert engine.loads == ["auto"]


def test_what_is_no_trial_is_not_repeated(engine):
    Child().run(make_task())

    assert engine.loads == ["auto"]


def test_a_vision_model_is_tried_too_and_reports_no_levels(engine):
    model = make_model(tasks=(IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING))
    ended = Child().run(trial(model=model, task=IMAGE_TO_TEXT))

    assert engine.loads == ["auto", "bfloat16"]
    assert ended.outcome.text == "answer: a fox"
    assert ended.outcome.notes[0].endswith(" 2.0x")


@pytest.mark.parametrize(
    ("device", "tasks", "expected"),
    [("cpu", (IMAGE_TO_TEXT,), True), ("cuda:0", (IMAGE_TO_TEXT,), False), ("cpu", (IMAGE_UPSCALING,), False)],
)
def test_only_image_and_vision_models_on_a_cpu_have_a_choice(device, tasks, expected):
    assert may_choose_format(make_model(tasks=tasks), device) is expected


def test_images_of_another_size_are_as_different_as_can_be():
    one, two = (TrialRun({0: flat_image(make_task(options={"width": side}), 0)}) for side in (8, 16))

    assert one.levels_from(two) == 255
    assert TrialRun().levels_from(one) == 0


def test_a_run_without_steps_decides_nothing():
    assert FormatTrial().measurements("cpu", "test", "") == []


def test_the_note_is_translated_like_others():
    note = IN_BFLOAT16.format(words="1.8x, 3/255")

    assert format_note(note) == note


@pytest.mark.parametrize(("avx512", "amx"), [(True, False), (False, True), (False, False)])
def test_the_processors_instructions_decide(avx512, amx):
    class Cpu:
        _is_avx512_bf16_supported = staticmethod(lambda: avx512)
        _is_amx_tile_supported = staticmethod(lambda: amx)

    assert has_bfloat16(type("torch", (), {"cpu": Cpu})) is (avx512 or amx)
    assert has_bfloat16(type("older torch", (), {"cpu": object()})) is False
