"""Messages survive the pipe; nothing else is accepted from it."""

import dataclasses
import io
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot import errors
from bot.jobs import Media
from bot.ports import Progress, TaskImage
from inference.engine.error_mapping import is_out_of_memory, redact, to_task_error
from inference.ipc import messages
from tests.inference.support import make_task


def round_trip(message):
    return messages.read_message(io.BytesIO(messages.encode_frame(message)))


@pytest.mark.parametrize(
    "message",
    [
        messages.Init(device="cpu", engine_factory="a:b"),
        messages.StartTask(
            dataclasses.replace(make_task("🦊"), images=(TaskImage("init", Media(b"\0\xff", "image/png")),))
        ),
        messages.TaskEvent(task_id="x", event=Progress(step=1, steps=2, preview=b"\xff"), used_s=0.5),
        messages.TaskEnded(task_id="x", outcome=messages.Cancelled(), used_s=0),
        messages.ModelLoaded(
            model="m", loaded_models=("m",), failure=messages.PackedError("OutOfMemory", {"detail": "x"})
        ),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_survives_the_pipe(message):
    assert round_trip(message) == message


@pytest.mark.parametrize(
    "error",
    [
        errors.WorkerLost(was_alone=True, detail="x"),
        errors.ModelUnavailable("m", "x"),
        errors.InvalidOption("width", "multiple", value=60, allowed="8", nearest="64"),
        errors.TooLarge(limit=16, unit="megapixels"),
        errors.EngineTimeout(3.0),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_survives_the_pipe(error):
    result = messages.unpack_error(round_trip(messages.pack_error(error)))

    assert type(result) is type(error)
    assert vars(result) == vars(error)
    assert str(result) == str(error)


@pytest.mark.parametrize("name", ["NoSuchError", "Sequence", "__builtins__", "datetime"])
def test_an_error_of_an_unknown_class_becomes_an_engine_error(name):
    result = messages.unpack_error(messages.PackedError(name, {"detail": "x"}))

    assert type(result) is errors.EngineError
    assert name in result.detail


class Evil:
    def __reduce__(self):
        return (eval, ("1/0",))


@pytest.mark.parametrize("thing", [Evil(), io.BytesIO, print, messages.encode_frame, object()])
def test_nothing_but_messages_can_be_unpickled(thing):
    with pytest.raises(messages.ProtocolError):
        messages.decode_body(pickle.dumps(thing))


@given(st.binary(max_size=200))
def test_random_bytes_are_a_protocol_error_or_a_plain_value(data):
    try:
        messages.decode_body(data)
    except messages.ProtocolError:
        return


def test_a_truncated_frame_is_the_end():
    frame = messages.encode_frame(messages.Ready(1))

    assert messages.read_message(io.BytesIO(frame[:-1])) is None
    assert messages.read_message(io.BytesIO(b"\0")) is None


def test_a_frame_of_absurd_length_is_refused_before_it_is_read():
    with pytest.raises(messages.ProtocolError):
        messages.read_message(io.BytesIO(b"\xff\xff\xff\xff"))


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
def test_every_out_of_memory_error_is_recognised(error, expected):
    assert is_out_of_memory(error) is expected


def test_prompts_are_removed_from_a_traceback():
    assert "secret" not in redact("ValueError: a secret\\nfox; a secret\nfox", ["a secret\nfox"])


def test_no_words_of_a_conversation_are_in_the_error_that_ends_a_question():
    thread = [{"question": "who is Ann?", "answer": "a lynx"}]
    own = {"prompt": "a blue cat"}
    options = {"question": "and Bob?", "thread": thread, "prompts": ["a red fox"], "unenhanced": own}
    words = "who is Ann? a lynx; and Bob? a red fox; a blue cat"

    error = to_task_error(ValueError(words), dataclasses.replace(make_task("x"), options=options))

    assert isinstance(error, errors.EngineError)
    assert not any(one in error.detail for one in ("Ann", "lynx", "Bob", "fox", "cat"))
