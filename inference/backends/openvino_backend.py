"""OpenVINO: graphs on the processor. float32 unless another precision is asked for.

OpenVINO's own default computes in bfloat16 where the processor has AMX, so pictures would differ by machine: the
precision is always set. Its telemetry, which asks nobody, is switched off before the library is imported.
"""

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy
import torch

from bot.runtime.private_files import make_private_folder
from inference.backends.graph import DynamicAxes

GRAPH_FILE = "graph.xml"
EIGHT_BIT = "8bit"
MIN_LAYER_WEIGHTS = 2**14
"""Smaller layers are not quantized, as that would save little."""
KEPT_KERNELS = 200
"""Compiled kernels of each kind that a graph keeps for the shapes that it has computed. By default they are 5000, and
its memory grows with each new size or number of rows; making one anew takes no measurable part of a pass."""
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class OpenVinoBackend:
    name = "openvino"

    def is_installed(self) -> bool:
        return find_spec("openvino") is not None

    def check_options(self, *, precision: str, options: Mapping[str, Any] = MappingProxyType({})) -> None:
        """It has all precisions, and no other options."""

    def export(
        self,
        wrapper: torch.nn.Module,
        example: Sequence[torch.Tensor],
        dynamic: Sequence[DynamicAxes],
        folder: Path,
        *,
        weights: str,
    ) -> None:
        if weights not in ("none", EIGHT_BIT):
            raise ValueError(f"OpenVINO builds have weights in float32 or 8 bits, not in {weights}")
        openvino = _import_openvino()
        shapes = [
            openvino.PartialShape([-1 if axis in axes else size for axis, size in enumerate(tensor.shape)])
            for tensor, axes in zip(example, dynamic, strict=True)
        ]
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it traces the module, which torch discourages
            model = openvino.convert_model(_trace(wrapper, example), example_input=tuple(example), input=shapes)
        if weights == EIGHT_BIT:
            _quantize_weights(model)
        openvino.save_model(model, folder / GRAPH_FILE, compress_to_fp16=False)

    def open(
        self,
        folder: Path,
        *,
        threads: int,
        precision: str,
        cache: Path | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> "OpenVinoGraph":
        openvino = _import_openvino()
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",  # 8-bit weights would have 8-bit activations, too
            "ENABLE_CPU_PINNING": False,  # other processes compute on these cores too
            "CPU_RUNTIME_CACHE_CAPACITY": str(KEPT_KERNELS),
        }
        settings |= {"INFERENCE_NUM_THREADS": threads} if threads else {}
        settings |= {"CACHE_DIR": str(cache)} if cache is not None and _may_write(cache) else {}
        return OpenVinoGraph(openvino.Core().compile_model(folder / GRAPH_FILE, "CPU", settings | dict(options)))


def _may_write(cache: Path) -> bool:
    """OpenVINO opens nothing with a cache that it cannot write."""
    with contextlib.suppress(OSError):
        make_private_folder(cache)
        return os.access(cache, os.W_OK)
    return False


def _trace(wrapper: torch.nn.Module, example: Sequence[torch.Tensor]) -> Any:
    """The module's trace. torch would compute it twice more, to compare the trace with."""
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    return TorchScriptPythonDecoder(wrapper.eval(), example_input=tuple(example), trace_kwargs={"check_trace": False})


def _quantize_weights(model: Any) -> None:
    """Replace the weights of large layers by 8-bit ones, with a scale for each output channel."""
    for operation in model.get_ordered_ops():
        if operation.get_type_name() in ("MatMul", "Convolution"):
            constant = operation.input_value(1).get_node()
            if constant.get_type_name() == "Constant" and constant.data.size >= MIN_LAYER_WEIGHTS:
                channel = 1 if operation.get_attributes().get("transpose_b") is False else 0
                operation.input(1).replace_source_output(_eight_bit(constant.data, channel).output(0))


def _eight_bit(weights: numpy.ndarray, channel: int) -> Any:
    """A node that computes the weights from 8-bit ones. `channel`: the axis of the output channels."""
    from openvino import opset13

    axes = tuple(axis for axis in range(weights.ndim) if axis != channel)
    scale = numpy.abs(weights).max(axis=axes, keepdims=True) / 127
    scale[scale == 0] = 1
    small = opset13.constant(numpy.round(weights / scale).astype(numpy.int8))
    return opset13.multiply(opset13.convert(small, "f32"), opset13.constant(scale.astype(numpy.float32)))


class OpenVinoGraph:
    """An opened graph; each thread has an inference request of its own."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._requests = threading.local()

    def run(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        outputs = self._request().infer([tensor.numpy() for tensor in inputs], share_inputs=True)
        return tuple(torch.from_numpy(output) for output in outputs.values())

    def close(self) -> None:
        self._requests = threading.local()
        self._compiled = None

    def _request(self) -> Any:
        if not hasattr(self._requests, "request"):
            self._requests.request = self._compiled.create_infer_request()
        return self._requests.request


def _import_openvino() -> Any:
    """The module, without its telemetry, which it does without when it cannot import it."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino
