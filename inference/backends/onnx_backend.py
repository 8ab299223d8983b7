"""ONNX Runtime: graphs on the processor in float32, and on other devices with their execution providers.

Weights are in a file of their own, because one file of ONNX holds 2 GB at most.
"""

import shutil
import threading
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch

from inference.backends.graph import DynamicAxes, RefusedOptions
from inference.backends.onnx_providers import (
    PROVIDERS,
    GraphInput,
    Profile,
    choose_providers,
    profile_for,
    provider_options,
    refused_options,
    runs_one_at_a_time,
    session_settings,
)

GRAPH_FILE, WEIGHTS_FILE = "graph.onnx", "weights.bin"
_OPSET = 17
_ERRORS_ONLY = 3
_ONLY_FLOAT32 = (
    "ONNX Runtime's builds have weights in float32 only: with 8 bits it also rounds activations, by a scale that "
    "depends on the other images of a pass"
)


class OnnxBackend:
    name = "onnx"

    def is_installed(self) -> bool:
        return find_spec("onnxruntime") is not None

    def check_options(self, *, precision: str, options: Mapping[str, Any] = MappingProxyType({})) -> None:
        import onnxruntime

        available = onnxruntime.get_available_providers()
        reason = refused_options(tuple(options.get("providers", ())), precision, available)
        if reason:
            raise RefusedOptions(reason)

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
            raise ValueError(_ONLY_FLOAT32)
        names = [f"input_{number}" for number in range(len(example))]
        traced = folder / "traced"
        traced.mkdir()
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's other exporter fixes the sizes of images
            torch.onnx.export(
                wrapper.eval(),
                tuple(example),
                str(traced / GRAPH_FILE),
                dynamo=False,
                opset_version=_OPSET,
                input_names=names,
                output_names=["output"],
                dynamic_axes={name: dict(axes) for name, axes in zip(names, dynamic, strict=True)},
            )
        _save(traced / GRAPH_FILE, folder)

    def open(
        self,
        folder: Path,
        *,
        threads: int,
        precision: str,
        cache: Path | None = None,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> "OnnxGraph":
        """Options: `providers`, and the `sizes` of images, (width, height), that TensorRT compiles for."""
        import onnxruntime

        onnxruntime.disable_telemetry_events()
        self.check_options(precision=precision, options=options)
        providers = choose_providers(options.get("providers", ()))
        profiles = [profile_for(width, height) for width, height in options.get("sizes", ())]
        return OnnxGraph(folder, providers, threads, precision, cache, profiles)


class OnnxGraph:
    """An opened graph.

    TensorRT computes the shapes of its profiles; other shapes are computed by the provider after it, in a session that
    is opened when the first of them comes.
    """

    def __init__(
        self,
        folder: Path,
        providers: Sequence[str],
        threads: int,
        precision: str,
        cache: Path | None,
        profiles: Sequence[Profile],
    ) -> None:
        self._folder, self._providers, self._threads = folder, tuple(providers), threads
        self._precision, self._cache = precision, cache
        self._profiles = tuple(profiles) if "tensorrt" in providers else ()
        self._inputs = read_inputs(folder) if self._profiles else ()
        self._sessions: dict[tuple[str, ...], Any] = {}
        self._lock = threading.Lock()
        self._session(self._providers)

    def run(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        session = self._session(self._providers_for(inputs))
        given = {f"input_{number}": tensor.numpy() for number, tensor in enumerate(inputs)}
        if not runs_one_at_a_time(self._providers):
            return self._compute(session, given)
        with self._lock:
            return self._compute(session, given)

    def close(self) -> None:
        self._sessions.clear()

    @staticmethod
    def _compute(session: Any, given: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
        return tuple(torch.from_numpy(output) for output in session.run(None, given))

    def _providers_for(self, inputs: Sequence[torch.Tensor]) -> tuple[str, ...]:
        shapes = [tuple(tensor.shape) for tensor in inputs]
        if not self._profiles or any(profile.holds(self._inputs, shapes) for profile in self._profiles):
            return self._providers
        return tuple(name for name in self._providers if name != "tensorrt")

    def _session(self, providers: tuple[str, ...]) -> Any:
        with self._lock:
            if providers not in self._sessions:
                self._sessions[providers] = self._open(providers)
            return self._sessions[providers]

    def _open(self, providers: Sequence[str]) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self._threads, 1
        options.log_severity_level = _ERRORS_ONLY
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others compute on these cores too
        for name, value in session_settings(providers).items():
            setattr(options, name, value)
        given: dict[str, Any] = {
            "precision": self._precision,
            "cache": self._cache,
            "inputs": self._inputs,
            "profiles": self._profiles,
        }
        return onnxruntime.InferenceSession(
            str(self._folder / GRAPH_FILE),
            options,
            providers=[(PROVIDERS[name], provider_options(name, **given)) for name in providers],
        )


def read_inputs(folder: Path) -> tuple[GraphInput, ...]:
    """The inputs of a graph, without its weights."""
    import onnx

    graph = onnx.load(str(folder / GRAPH_FILE), load_external_data=False).graph
    return tuple(
        GraphInput(given.name, tuple(axis.dim_param or axis.dim_value for axis in given.type.tensor_type.shape.dim))
        for given in graph.input
    )


def _save(traced: Path, folder: Path) -> None:
    """Move an exported graph into the folder, with its weights in one file, and remove what was exported."""
    import onnx

    model = onnx.load(str(traced))
    onnx.save_model(
        model, str(folder / GRAPH_FILE), save_as_external_data=True, location=WEIGHTS_FILE, size_threshold=_SMALL_BYTES
    )
    shutil.rmtree(traced.parent)


_SMALL_BYTES = 1024
"""Tensors up to this size stay in the graph's file."""
