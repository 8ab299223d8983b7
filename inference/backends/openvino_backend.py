"""OpenVINO: graphs on the processor. float32 unless another precision is asked for.

OpenVINO's own default computes in bfloat16 where the processor has AMX, so pictures would differ by machine: the
precision is always set. Its telemetry, which asks nobody, is switched off before the library is imported.
"""

import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from inference.backends.graph import DynamicAxes

GRAPH_FILE = "graph.xml"
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}


class OpenVinoBackend:
    name = "openvino"

    def is_installed(self) -> bool:
        return find_spec("openvino") is not None

    def version(self) -> str:
        return metadata.version("openvino") if self.is_installed() else ""

    def export(
        self,
        wrapper: torch.nn.Module,
        example: Sequence[torch.Tensor],
        dynamic: Sequence[DynamicAxes],
        folder: Path,
        *,
        weights: str,
    ) -> None:
        if weights != "none":
            raise ValueError(f"OpenVINO builds have weights in float32, not in {weights}")
        openvino = _import_openvino()
        shapes = [
            openvino.PartialShape([-1 if axis in axes else size for axis, size in enumerate(tensor.shape)])
            for tensor, axes in zip(example, dynamic, strict=True)
        ]
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it traces the module, which torch discourages
            model = openvino.convert_model(wrapper.eval(), example_input=tuple(example), input=shapes)
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
            "ENABLE_CPU_PINNING": False,  # other processes compute on these cores too
        }
        settings |= {"INFERENCE_NUM_THREADS": threads} if threads else {}
        settings |= {"CACHE_DIR": str(cache)} if cache is not None else {}
        return OpenVinoGraph(openvino.Core().compile_model(folder / GRAPH_FILE, "CPU", settings | dict(options)))


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
