"""Messages survive the pipe; nothing else comes through it."""

import dataclasses
import io
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot import errors
from bot.jobs import Media
from bot.ports import Progress, TaskImage
from inference.engine.error_mapping import is_out_of_memory, scrub
from inference.ipc import messages
from tests.inference.support import make_task


def through(message):
    return messages.read(io.BytesIO(messages.encode(message)))


@pytest.mark.parametrize(
    "message",
    [
        messages.Begin(device="cpu", engines="a:b"),
        messages.Run(dataclasses.replace(make_task("🦊"), images=(TaskImage("init", Media(b"\0\xff", "image/png")),))),
        messages.Told(task_id="x", event=Progress(step=1, steps=2, preview=b"\xff"), used_s=0.5),
        messages.Ended(task_id="x", outcome=messages.Stopped(), used_s=0),
        messages.Loaded(model="m", warm=("m",), failure=messages.Failure("OutOfMemory", {"detail": "x"})),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_comes_out_as_it_went_in(message):
    assert through(message) == message


@pytest.mark.parametrize(
    "error",
    [
        errors.WorkerLost(alone=True, detail="x"),
        errors.ModelUnavailable("m", "x"),
        errors.InvalidOption("width", "multiple", value=60, allowed="8", nearest="64"),
        errors.TooLarge(limit=16, unit="megapixels"),
        errors.EngineTimeout(3.0),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_comes_out_as_it_went_in(error):
    result = messages.unpack_error(through(messages.pack_error(error)))

    assert type(result) is type(error)
    assert vars(result) == vars(error)
    assert str(result) == str(error)


@pytest.mark.parametrize("name", ["NoSuchError", "Sequence", "__builtins__", "datetime"])
def test_an_error_of_a_class_that_is_none_becomes_an_engine_error(name):
    result = messages.unpack_error(messages.Failure(name, {"detail": "x"}))

    assert type(result) is errors.EngineError
    assert name in result.detail


class Evil:
    def __reduce__(self):
        return (eval, ("1/0",))


@pytest.mark.parametrize("thing", [Evil(), io.BytesIO, print, messages.encode, object()])
def test_nothing_but_messages_can_be_unpickled(thing):
    with pytest.raises(messages.BadFrame):
        messages.decode(pickle.dumps(thing))


@given(st.binary(max_size=200))
def test_noise_is_a_bad_frame_or_a_plain_value(noise):
    try:
        messages.decode(noise)
    except messages.BadFrame:
        return


def test_a_frame_that_is_cut_short_is_the_end():
    frame = messages.encode(messages.Ready(1))

    assert messages.read(io.BytesIO(frame[:-1])) is None
    assert messages.read(io.BytesIO(b"\0")) is None


def test_a_frame_of_absurd_length_is_refused_before_it_is_read():
    with pytest.raises(messages.BadFrame):
        messages.read(io.BytesIO(b"\xff\xff\xff\xff"))


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (OutOfMemoryError("CUDA"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("out of memory"), False),
    ],
    ids=str,
)
def test_every_way_of_running_out_of_memory_is_known(error, expected):
    assert is_out_of_memory(error) is expected


def test_a_persons_words_are_taken_out_of_a_traceback():
    assert "secret" not in scrub("ValueError: a secret\\nfox; a secret\nfox", ["a secret\nfox"])
