"""A compiled module: called like the torch module that it stands in for, and computed by a graph.

Calls that the graph cannot compute are made by the torch module. That module stays the same object when its weights
are released: they are then on torch's "meta" device, and come back from the disk when they are needed.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch

from inference.backends.graph import CompiledGraph
from inference.backends.graph_inputs import GraphInputs

LoadModule = Callable[[], torch.nn.Module]
"""Loads the torch module anew, on the device and in the number format of the first time."""


class CompiledModule(torch.nn.Module):
    """All attributes but its call are the torch module's, such as its config.

    Attributes:
        backend, precision: what computes the graph, and in which number format.
        has_failed: the graph failed a call that torch then made, so it makes no more.
    """

    has_failed: bool

    def __init__(
        self,
        module: torch.nn.Module,
        rule: GraphInputs,
        graph: CompiledGraph,
        *,
        backend: str,
        precision: str = "float32",
        reload: LoadModule | None = None,
        is_strict: bool = False,
    ) -> None:
        """`is_strict`: a call that the graph cannot compute is an error, because torch would compute something else."""
        super().__init__()
        signature = inspect.signature(module.forward)
        own: dict[str, Any] = self.__dict__
        own.update(
            _module=module,
            _rule=rule,
            _graph=graph,
            _reload=reload,
            _is_strict=is_strict,
            backend=backend,
            precision=precision,
            has_failed=False,
        )
        own.update(_signature=signature, dtype=module.dtype, device=module.device)

        def forward(*args: Any, **kwargs: Any) -> Any:
            return self._call(signature.bind(*args, **kwargs).arguments)

        forward.__signature__ = signature  # type: ignore[attr-defined]
        own["forward"] = forward

    @property
    def original(self) -> torch.nn.Module:
        """The torch module, with its weights."""
        self.restore_original()
        module: torch.nn.Module = self.__dict__["_module"]
        return module

    @property
    def is_original_loaded(self) -> bool:
        module: torch.nn.Module = self.__dict__["_module"]
        return not any(parameter.is_meta for parameter in module.parameters())

    def takes(self, arguments: Mapping[str, Any]) -> bool:
        """Whether the graph computes a call with these arguments, by name."""
        return bool(self.__dict__["_rule"].takes(arguments))

    def release_original(self) -> bool:
        """Free the torch module's weights until they are needed; False: they cannot be loaded again."""
        if self.__dict__["_reload"] is None:
            return False
        self.__dict__["_module"].to("meta")
        return True

    def restore_original(self) -> None:
        """Load the torch module's weights again if they were released."""
        if self.is_original_loaded:
            return
        module: torch.nn.Module = self.__dict__["_module"]
        _move_weights(self.__dict__["_reload"](), module)

    @property
    def released_mb(self) -> int:
        """Memory that restoring the torch module's weights would take, MiB."""
        module: torch.nn.Module = self.__dict__["_module"]
        released = (one.numel() * one.element_size() for one in module.parameters() if one.is_meta)
        return -(-sum(released) // 2**20)

    def give_up(self) -> None:
        """Let torch make all further calls."""
        self.__dict__["has_failed"] = True

    def with_graph(self, graph: CompiledGraph) -> "CompiledModule":
        """Another for the same module, whose graph has LoRAs fused into its weights."""
        own = self.__dict__
        return CompiledModule(
            own["_module"],
            own["_rule"],
            graph,
            backend=self.backend,
            precision=self.precision,
            reload=own["_reload"],
            is_strict=True,
        )

    def close(self) -> None:
        self.__dict__["_graph"].close()

    def _call(self, arguments: Mapping[str, Any]) -> Any:
        rule: GraphInputs = self.__dict__["_rule"]
        inputs = rule.to_inputs(arguments)
        if inputs is None:
            if self.__dict__["_is_strict"]:
                raise ValueError("the compiled denoiser cannot compute this call, and torch lacks its LoRAs")
            return self.original(**arguments)
        return rule.to_output(self.__dict__["_graph"].run(inputs), arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_module"], name)


def _move_weights(source: torch.nn.Module, target: torch.nn.Module) -> None:
    """Give the target, whose tensors have no values, those of a module of the same kind."""
    loaded = dict(source.named_parameters(remove_duplicate=False)) | dict(source.named_buffers(remove_duplicate=False))
    for name, part in target.named_modules():
        for tensors in (part._parameters, part._buffers):
            for key, tensor in tensors.items():
                if tensor is not None and tensor.is_meta:
                    tensors[key] = loaded[f"{name}.{key}" if name else key]
