"""OpenVINO's graphs: number formats of weights, threads, and what is switched off."""

import functools
import sys
import threading

import pytest
import torch

from inference.backends import openvino_backend
from inference.backends.graph import graph_backend
from tests.backends_required import require_backend

require_backend("openvino")


class Layers(torch.nn.Module):
    """A convolution and two matrices, one of which is too small to be quantized."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = torch.nn.Conv2d(8, 256, 3, padding=1)
        self.large, self.small = torch.nn.Linear(256, 256), torch.nn.Linear(256, 4)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self.small(torch.nn.functional.gelu(self.large(self.conv(pixels).mean((2, 3)))))
        return rows


@pytest.fixture(scope="module")
def layers():
    return Layers().eval()


@pytest.fixture(scope="module")
def export(layers, tmp_path_factory):
    @functools.cache
    def export_with(weights):
        folder = tmp_path_factory.mktemp("graph")
        axes = [{0: "rows", 2: "height", 3: "width"}]
        graph_backend("openvino").export(layers, [torch.randn(2, 8, 5, 5)], axes, folder, weights=weights)
        return folder

    return export_with


def open_graph(folder, precision="float32", cache=None):
    return graph_backend("openvino").open(folder, threads=1, precision=precision, cache=cache)


def relative_error(one, other):
    return float((one - other).norm() / other.norm())


@torch.no_grad()
def test_weights_in_8_bits_need_a_quarter_of_the_disk(layers, export):
    full, small = export("none"), export("8bit")
    pixels = torch.randn(3, 8, 7, 9)
    errors = [relative_error(open_graph(folder).run([pixels])[0], layers(pixels)) for folder in (full, small)]

    assert errors[0] < 1e-5 < errors[1] < 0.02
    assert (small / "graph.bin").stat().st_size < 0.3 * (full / "graph.bin").stat().st_size


@torch.no_grad()
def test_float32_stays_float32_although_the_processor_has_bfloat16(layers, export):
    folder = export("none")
    pixels = torch.randn(3, 8, 7, 9)
    full, half = (open_graph(folder, precision=one).run([pixels])[0] for one in ("float32", "bfloat16"))

    assert relative_error(full, layers(pixels)) < 1e-5
    assert relative_error(half, layers(pixels)) < 0.02


def test_other_weights_are_refused(export):
    with pytest.raises(ValueError, match="not in 4bit"):
        export("4bit")


@torch.no_grad()
def test_several_threads_run_one_graph(layers, export):
    graph = open_graph(export("none"))
    batches = [torch.randn(rows, 8, 6, 6) for rows in (1, 2, 3, 4)]
    outputs: dict[int, torch.Tensor] = {}

    def run(number):
        for _ in range(5):
            outputs[number] = graph.run([batches[number]])[0]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for number, batch in enumerate(batches):
        torch.testing.assert_close(outputs[number], layers(batch), atol=1e-5, rtol=1e-5)


def test_a_compiled_graph_is_kept_for_the_next_opening(export, tmp_path):
    open_graph(export("none"), cache=tmp_path).close()

    assert list(tmp_path.iterdir())


def test_a_build_is_opened_although_its_folder_cannot_be_written(export, tmp_path):
    (tmp_path / "file").touch()

    open_graph(export("none"), cache=tmp_path / "file" / "cache").close()


def test_telemetry_is_never_imported(export):
    open_graph(export("none"))

    assert sys.modules["openvino_telemetry"] is None


def test_few_kernels_are_kept_for_sizes_that_came_before(export, monkeypatch):
    """By default they are thousands, and memory grows with each new size of images."""
    openvino = openvino_backend._import_openvino()
    compile_model, given = openvino.Core.compile_model, {}

    def record(core, path, device, settings):
        given.update(settings)
        return compile_model(core, path, device, settings)

    monkeypatch.setattr(openvino.Core, "compile_model", record)
    open_graph(export("none"))

    assert int(given["CPU_RUNTIME_CACHE_CAPACITY"]) == openvino_backend.KEPT_KERNELS < 1000
