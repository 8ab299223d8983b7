"""Headers of `.gguf` files: read within limits, and refused in one sentence where they are damaged or hostile."""

import struct
import time
import tracemalloc
from contextlib import nullcontext, suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.model_install.gguf_header import FORMATS, TruncatedHeader, parse_gguf_header, read_gguf_header
from bot.model_install.model_headers import DamagedModelFile, read_header
from tests.backends_required import require_backend
from tests.inference.gguf_files import header_bytes, text

SHAPES = {"img_in.weight": [64, 32], "img_in.bias": [64]}
WHOLE = header_bytes(SHAPES, "flux")
HUGE = 2**62


def with_counts(tensors: int, keys: int) -> bytes:
    return WHOLE[:8] + struct.pack("<QQ", tensors, keys) + WHOLE[24:]


def with_metadata(value: bytes) -> bytes:
    return WHOLE[:8] + struct.pack("<QQ", 0, 1) + text("general.name") + value


def one_tensor(shape: tuple[int, ...], kind: int = 1, offset: int = 0) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text("a") + struct.pack("<I", len(shape))
    return head + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, offset) + b"\0" * 4096


def test_a_header_has_shapes_as_torch_and_real_sizes(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(header_bytes({"a": [64, 32], "b": [4, 3, 2]}, "flux"))

    header = read_gguf_header(path)

    assert header.shapes == {"a": [64, 32], "b": [4, 3, 2]}
    assert header.sizes == {"a": 64 * 32 * 2, "b": 4 * 3 * 2 * 2}
    assert header.metadata == {"general.architecture": "flux"}
    assert header.bytes_with(4) == 4 * (64 * 32 + 24)


def test_quantized_weights_keep_their_size():
    data = header_bytes({"a": [64, 32]}, kind="Q4_0")

    assert parse_gguf_header(data, len(data)).bytes_with(4) == 64 * 18


def test_formats_are_those_of_the_library():
    require_backend("gguf")
    import gguf

    sizes = {int(kind): sizes for kind, sizes in gguf.GGML_QUANT_SIZES.items()}
    assert all(sizes[number] == (weights, size) for number, (_, weights, size) in FORMATS.items())
    assert all(gguf.GGMLQuantizationType(number).name == name for number, (name, _, _) in FORMATS.items())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not a GGUF file"),
        (b"PK\3\4" + bytes(64), "not a GGUF file"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"GGUF" + struct.pack("<IQQ", 1, 1, 1), "another version"),
        (b"GGUF" + struct.pack(">IQQ", 3, 1, 1), "another version"),
        (with_counts(HUGE, 0), "damaged"),
        (with_counts(2, HUGE), "damaged"),
        (with_metadata(struct.pack("<IQ", 8, HUGE)), "damaged"),
        (with_metadata(struct.pack("<IIQ", 9, 4, HUGE)), "damaged"),
        (with_metadata(struct.pack("<IIQ", 9, 9, 1)), "damaged"),
        (with_metadata(struct.pack("<I", 99)), "damaged"),
        (one_tensor((32, 2**40)), "damaged"),
        (one_tensor((32, 0)), "damaged"),
        (one_tensor((2, 2, 2, 2, 2)), "damaged"),
        (one_tensor((31,), kind=8), "damaged"),
        (one_tensor((256,), kind=16), "cannot compute (number 16)"),
        (one_tensor((32,), offset=7), "where they cannot be"),
        (one_tensor((32, 2**20)), "truncated"),
        (WHOLE[:-64], "truncated"),
        (header_bytes({"a": [32]}).replace(text("a"), text("a" * 600)), "damaged"),
    ],
)
def test_a_damaged_header_is_refused(data, words):
    with pytest.raises(DamagedModelFile, match=words.replace("(", r"\(").replace(")", r"\)")):
        parse_gguf_header(data, len(data))


def test_overlapping_tensors_and_repeated_names_are_refused():
    two = header_bytes({"a": [32], "b": [32]})
    same_place = two.replace(struct.pack("<IQ", 1, 64), struct.pack("<IQ", 1, 0))

    with pytest.raises(DamagedModelFile, match="where they cannot be"):
        parse_gguf_header(same_place, len(two))
    with pytest.raises(DamagedModelFile, match="damaged"):
        parse_gguf_header(two.replace(text("b"), text("a")), len(two))


def test_the_start_of_a_header_says_that_more_is_needed():
    with pytest.raises(TruncatedHeader):
        parse_gguf_header(WHOLE[:40], len(WHOLE))


@settings(max_examples=60)
@given(st.data())
def test_no_bytes_raise_anything_else(data):
    damaged = bytearray(WHOLE[:200])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(4, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with suppress(DamagedModelFile):
        parse_gguf_header(bytes(damaged), len(WHOLE))


def test_offsets_are_those_in_the_file():
    header = parse_gguf_header(WHOLE, len(WHOLE))

    assert header.offsets["img_in.bias"] == header.offsets["img_in.weight"] + 64 * 32 * 2
    assert max(header.offsets[name] + header.sizes[name] for name in SHAPES) <= len(WHOLE)


def test_files_with_each_others_endings_say_what_they_are(tmp_path):
    path = tmp_path / "a.gguf"
    path.write_bytes(struct.pack("<Q", 2) + b"{}")
    with pytest.raises(DamagedModelFile, match=r"name it \.safetensors"):
        read_gguf_header(path)

    path = tmp_path / "a.safetensors"
    path.write_bytes(WHOLE)
    with pytest.raises(DamagedModelFile, match=r"name it \.gguf"):
        read_header(path)


def hostile(case: str) -> bytes:
    """Files of which each is as slow to read as their limits allow."""
    if case == "texts":
        value = struct.pack("<IIQ", 9, 8, 2**20) + b"\0" * 8 * 2**20
    elif case == "numbers":
        value = struct.pack("<IIQ", 9, 0, 2**20) + bytes(2**20)
    else:
        value = b"".join(struct.pack("<IIQ", 9, 9, 1) for _ in range(2**16))
    return with_metadata(value) + bytes(64)


@pytest.mark.parametrize(("case", "is_read"), [("texts", True), ("numbers", True), ("nested", False)])
def test_large_metadata_takes_little_time_and_memory(case, is_read):
    data = hostile(case)
    tracemalloc.start()
    started = time.process_time()

    with nullcontext() if is_read else pytest.raises(DamagedModelFile):
        parse_gguf_header(data, len(data))

    assert time.process_time() - started < 10
    assert tracemalloc.get_traced_memory()[1] < 2 * len(data) + 2**25
    tracemalloc.stop()
