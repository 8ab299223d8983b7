"""Exports a torch module as a backend's graph, by the rule of its class."""

import copy
from pathlib import Path

import torch

from inference.backends.graph import GraphBackend
from inference.backends.graph_inputs import UnsupportedModule, graph_inputs_for


def export_module(module: torch.nn.Module, backend: GraphBackend, folder: Path, *, weights: str = "none") -> None:
    """Write the module's graph into the folder, in float32.

    Raises: UnsupportedModule; ValueError: the backend has no such weights; what the backend raises.
    """
    rule = graph_inputs_for(module)
    if rule is None:
        raise UnsupportedModule(f"{type(module).__name__} has no compiled form")
    if any(parameter.dtype != torch.float32 for parameter in module.parameters()):
        module = copy.deepcopy(module).float()
    folder.mkdir(parents=True, exist_ok=True)
    backend.export(rule.wrapper(module), rule.example(), rule.dynamic(), folder, weights=weights)
