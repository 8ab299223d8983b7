"""Which finished images plugins get, and what becomes of an alpha channel."""

from typing import Any

import numpy
import pytest

from inference.engine.plugins.decoded_images import change_decoded
from inference.engine.plugins.plugin_host import PluginHost
from inference.ipc.messages import RawImage
from inference.ipc.plugin_messages import PluginFailed
from tests.inference.plugin_files import write_plugin
from tests.inference.support import make_task


@pytest.fixture
def host(tmp_path, monkeypatch):
    """One that inverts images of a running task called "job"."""
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    host = PluginHost()
    host.set_plugins([write_plugin(tmp_path, "invert", "def easel_after_decode(pixels): return 255 - pixels")])
    host.start_task(make_task(is_result=True))
    return host


def raw(*pixel, **fields):
    return RawImage(index=0, width=2, height=1, pixels=bytes(pixel) * 2, seed=1, **fields)


@pytest.mark.parametrize(
    ("fields", "is_changed"),
    [
        ({}, True),
        ({"is_generated": False, "postprocess": "Postprocess upscaler: x"}, True),
        ({"is_generated": False}, False),
    ],
    ids=["generated", "upscaled", "a map, a mask or a cutout"],
)
def test_pictures_are_changed_and_what_is_computed_from_them_is_not(host, fields, is_changed):
    image = raw(1, 2, 3, **fields)

    changed = change_decoded(host, "job", image)

    assert changed.pixels == (bytes([254, 253, 252]) * 2 if is_changed else image.pixels)
    assert (changed.index, changed.seed, changed.postprocess) == (0, 1, image.postprocess)


def test_an_alpha_channel_stays_as_it_is(host):
    assert change_decoded(host, "job", raw(1, 2, 3, 4)).pixels == bytes([254, 253, 252, 4]) * 2


def test_an_image_of_an_unknown_task_stays_as_it_is(host):
    assert change_decoded(host, "other", raw(1, 2, 3)) == raw(1, 2, 3)


def test_a_hook_cannot_change_its_image_by_the_way(tmp_path, monkeypatch):
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    host = PluginHost()
    host.set_plugins(
        [write_plugin(tmp_path, "zero", "def easel_after_decode(pixels): pixels[:] = 0; raise ValueError")]
    )
    host.start_task(make_task(is_result=True))

    image = change_decoded(host, "job", raw(1, 2, 3))

    assert numpy.frombuffer(image.pixels, numpy.uint8).tolist() == [1, 2, 3, 1, 2, 3]


def test_what_a_person_wrote_is_in_no_report(tmp_path, monkeypatch):
    monkeypatch.setenv("EASEL_DATA_DIR", str(tmp_path))
    sent: list[Any] = []
    host = PluginHost(sent.append)
    source = "def easel_after_decode(image): raise ValueError(image.task.options['prompt'])"
    host.set_plugins([write_plugin(tmp_path, "talk", source)])
    host.start_task(make_task("my secret plan", is_result=True))

    change_decoded(host, "job", raw(1, 2, 3))

    [failed] = [message for message in sent if isinstance(message, PluginFailed)]
    assert failed.problem == "ValueError: [...] (line 1 of talk.py)"
