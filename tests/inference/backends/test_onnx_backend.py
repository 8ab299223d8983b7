"""ONNX Runtime: providers by name, their options, weights beside the graph, and torch's older exporter."""

import threading
import warnings
from typing import ClassVar

import pytest
import torch

from inference.backends.graph import RefusedOptions, graph_options
from inference.backends.onnx_backend import GRAPH_FILE, WEIGHTS_FILE, OnnxBackend, read_inputs
from inference.backends.onnx_providers import (
    MAX_ROWS,
    PROVIDERS,
    GraphInput,
    Profile,
    choose_providers,
    profile_for,
    profile_shapes,
    provider_options,
    refused_options,
    runs_one_at_a_time,
    session_settings,
)
from tests.backends_required import require_backend
from tests.inference.support import make_model

require_backend("onnx")

CPU_ONLY = ["AzureExecutionProvider", "CPUExecutionProvider"]
INPUTS = (GraphInput("input_0", ("rows", 4, "height", "width")), GraphInput("input_1", ("residual_rows_0", 8)))
SMALL = Profile({"rows": (1, 2, 8), "height": (64, 64, 64), "width": (64, 64, 64)})
WIDE = Profile({"rows": (1, 2, 8), "height": (64, 64, 64), "width": (96, 96, 96)})


# ---------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [((), ("cpu",)), (("tensorrt", "cuda"), ("tensorrt", "cuda", "cpu")), (("cpu", "cuda"), ("cuda", "cpu"))],
)
def test_the_processor_is_the_last_provider(wanted, chosen):
    assert choose_providers(wanted) == chosen


@pytest.mark.parametrize("name", [name for name in PROVIDERS if name != "cpu"])
def test_a_provider_that_is_not_installed_is_named_in_a_sentence(name):
    assert refused_options([name], "float32", CPU_ONLY) == (
        f"The installed ONNX Runtime has no provider {name}; it has cpu."
    )


def test_half_precision_needs_tensorrt():
    everything = list(PROVIDERS.values())

    assert refused_options(["tensorrt", "cuda"], "float16", everything) == ""
    assert "use float32" in refused_options(["cuda"], "bfloat16", everything)
    assert refused_options([], "float32", CPU_ONLY) == ""


def test_float32_is_float32_on_each_device():
    """TF32, float16 and the Neural Engine are off."""
    assert provider_options("cuda")["use_tf32"] == "0"
    assert provider_options("coreml")["MLComputeUnits"] == "CPUAndGPU"
    assert not {"trt_fp16_enable", "trt_bf16_enable"} & set(provider_options("tensorrt"))
    assert provider_options("tensorrt", precision="bfloat16")["trt_bf16_enable"] == "1"
    assert provider_options("cpu") == {}


def test_tensorrt_keeps_its_engines(tmp_path):
    options = provider_options("tensorrt", cache=tmp_path, inputs=INPUTS, profiles=[SMALL])

    assert (options["trt_engine_cache_enable"], options["trt_timing_cache_enable"]) == ("1", "1")
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == str(tmp_path)
    assert "trt_profile_min_shapes" in options


def test_tensorrt_has_a_profile_for_each_size():
    shapes = profile_shapes(INPUTS, [SMALL, WIDE])

    assert shapes == {
        "trt_profile_min_shapes": "input_0:1x4x64x64,input_1:1x8,input_0:1x4x64x96,input_1:1x8",
        "trt_profile_opt_shapes": "input_0:2x4x64x64,input_1:1x8,input_0:2x4x64x96,input_1:1x8",
        "trt_profile_max_shapes": "input_0:8x4x64x64,input_1:1x8,input_0:8x4x64x96,input_1:1x8",
    }
    assert profile_shapes(INPUTS, []) == {}


@pytest.mark.parametrize(
    ("sample", "residual", "is_held"),
    [((8, 4, 64, 64), (1, 8), True), ((9, 4, 64, 64), (1, 8), False), ((1, 4, 64, 96), (1, 8), False)],
)
def test_a_profile_holds_its_size(sample, residual, is_held):
    assert SMALL.holds(INPUTS, [sample, residual]) is is_held
    assert not SMALL.holds(INPUTS, [sample, (2, 8)])


def test_the_profile_of_a_size():
    profile = profile_for(768, 512)

    assert [profile.of_axis(name)[1] for name in ("rows", "height", "width", "patches")] == [2, 64, 96, 1536]
    assert profile.of_axis("residual_height_3") == (1, 1, 96)
    assert profile.of_axis(4) == (4, 4, 4)


def test_directml_computes_one_call_at_a_time():
    assert session_settings(["directml", "cpu"]) == {"enable_mem_pattern": False}
    assert session_settings(["cuda", "cpu"]) == {}
    assert runs_one_at_a_time(["directml"])
    assert not runs_one_at_a_time(["cuda", "cpu"])


def test_only_onnx_runtime_gets_providers_and_sizes():
    model = make_model(providers=("tensorrt",), width=768, height=512, max_size=1024)

    assert graph_options("onnx", model) == {"providers": ("tensorrt",), "sizes": ((768, 512), (1024, 1024))}
    assert graph_options("openvino", model) == {}


# ---------------------------------------------------------------- graphs


class Layer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(8, 64)

    def forward(self, rows: torch.Tensor, added: torch.Tensor) -> torch.Tensor:
        return self.layer(rows) + added


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder of a graph, and its module."""
    folder, module = tmp_path_factory.mktemp("build"), Layer().eval()
    example = (torch.randn(2, 8), torch.zeros(1, 64))
    OnnxBackend().export(module, example, ({0: "rows"}, {0: "added_rows"}), folder, weights="none")
    return folder, module


def open_graph(folder, **options):
    return OnnxBackend().open(folder, threads=1, precision="float32", options=options)


def test_weights_are_in_a_file_of_their_own(exported):
    """Without them, a graph's file would be limited to 2 GB."""
    folder, module = exported

    assert {path.name for path in folder.iterdir()} == {GRAPH_FILE, WEIGHTS_FILE}
    assert (folder / WEIGHTS_FILE).stat().st_size >= 4 * module.layer.weight.numel()
    assert read_inputs(folder) == (GraphInput("input_0", ("rows", 8)), GraphInput("input_1", ("added_rows", 64)))


@torch.no_grad()
def test_the_graph_takes_any_number_of_rows(exported):
    folder, module = exported
    graph = open_graph(folder)
    for rows in (1, 2, 5):
        inputs = (torch.randn(rows, 8), torch.randn(rows, 64))
        torch.testing.assert_close(graph.run(inputs)[0], module(*inputs))
    graph.close()


def test_torchs_older_exporter_is_still_there(tmp_path):
    """torch deprecates it. Its newer one needs another library, and fixes the sizes of images."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.onnx.export(Layer(), (torch.zeros(1, 8), torch.zeros(1, 64)), str(tmp_path / "graph"), dynamo=False)

    assert any(issubclass(one.category, DeprecationWarning) for one in caught)
    assert (tmp_path / "graph").stat().st_size


@pytest.mark.parametrize(("precision", "providers"), [("bfloat16", ()), ("float32", ("cuda",)), ("float16", ("cpu",))])
def test_what_the_library_cannot_do_is_refused_before_the_graph_is_read(tmp_path, precision, providers):
    with pytest.raises(RefusedOptions, match=r"^[^\n]*\.$"):
        OnnxBackend().open(tmp_path, threads=1, precision=precision, options={"providers": providers})


def test_8_bit_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match="float32 only"):
        OnnxBackend().export(Layer(), (), (), tmp_path, weights="8bit")


# ---------------------------------------------------------------- other devices, with a library that only takes notes


class Session:
    opened: ClassVar[list["Session"]] = []

    def __init__(self, path, options, providers) -> None:
        self.options, self.providers, self.busy = options, [name for name, _ in providers], threading.Lock()
        self.provider_options = dict(providers)
        Session.opened.append(self)

    def run(self, _names, inputs):
        assert self.busy.acquire(blocking=False)
        try:
            return [inputs["input_0"]]
        finally:
            self.busy.release()


@pytest.fixture
def sessions(monkeypatch):
    """The sessions that were opened, with every provider installed."""
    import onnxruntime

    monkeypatch.setattr(Session, "opened", [])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: list(PROVIDERS.values()))
    return Session.opened


def test_shapes_outside_of_tensorrts_profiles_run_on_the_next_provider(exported, sessions, tmp_path):
    folder, _ = exported
    options = {"providers": ("tensorrt", "cuda"), "sizes": ((512, 512),)}
    graph = OnnxBackend().open(folder, threads=1, precision="float32", cache=tmp_path, options=options)
    for rows in (1, MAX_ROWS):
        graph.run((torch.zeros(rows, 8), torch.zeros(1, 64)))
    assert [session.providers[0] for session in sessions] == ["TensorrtExecutionProvider"]

    for _ in range(2):
        graph.run((torch.zeros(MAX_ROWS + 1, 8), torch.zeros(1, 64)))

    assert [session.providers for session in sessions][1:] == [["CUDAExecutionProvider", "CPUExecutionProvider"]]
    assert sessions[0].provider_options["TensorrtExecutionProvider"]["trt_profile_max_shapes"] == (
        f"input_0:{MAX_ROWS}x8,input_1:64x64"
    )


def test_directml_sessions_have_no_memory_pattern(exported, sessions):
    folder, _ = exported
    graph = open_graph(folder, providers=("directml",))
    threads = [threading.Thread(target=graph.run, args=[(torch.zeros(1, 8), torch.zeros(1, 64))]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [session.options.enable_mem_pattern for session in sessions] == [False]
