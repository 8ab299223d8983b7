"""Runs stock pipelines so that their heavy calls can be taken over: held, merged with others', and answered.

A picture is made by Diffusers' own pipeline, unchanged, in a greenlet. Some of its components are stand-ins: whoever
calls one suspends the greenlet and hands the call out; `Run.resume` gives the answer in, and the pipeline goes on to
its next such call. All greenlets live in one thread, so there are no locks, and torch's thread-local modes stay as
they are because everything runs without gradients.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from greenlet import GreenletExit, getcurrent, greenlet


@dataclass(frozen=True, eq=False)
class Call:
    """A call of a component that waits for its answer. `method` is "forward" for a call of the module itself."""

    component: str
    method: str
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def perform(self, module: Any) -> Any:
        """Do it, alone."""
        target = module if self.method == "forward" else getattr(module, self.method)
        return target(*self.args, **self.kwargs)


@dataclass(frozen=True)
class Returned:
    value: Any


class Run:
    """One function in a greenlet of its own, held at each call of a stand-in."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._greenlet: greenlet | None = greenlet(function)

    def resume(self, answer: Any = None) -> Call | Returned:
        """Give the answer to the call it waits for (none at first); go on to the next call or the end.

        Raises: what the function raises.
        """
        assert self._greenlet is not None
        self._greenlet.parent = getcurrent()
        with torch.no_grad():  # a pipeline's own `no_grad` must not outlive the switch back
            outcome = self._greenlet.switch(*(() if not self._greenlet else (answer,)))
        return outcome if isinstance(outcome, Call) and self._greenlet else self._ended(outcome)

    def fail(self, error: BaseException) -> Call | Returned:
        """Let the call it waits for raise this. Raises: what the function makes of it."""
        assert self._greenlet is not None
        self._greenlet.parent = getcurrent()
        with torch.no_grad():
            outcome = self._greenlet.throw(error)
        return outcome if isinstance(outcome, Call) and self._greenlet else self._ended(outcome)

    def stop(self) -> None:
        """End it where it stands; its `finally` blocks run."""
        if self._greenlet is not None and self._greenlet:
            self._greenlet.parent = getcurrent()
            with torch.no_grad():
                self._greenlet.throw(GreenletExit)
        self._greenlet = None

    def _ended(self, value: Any) -> Returned:
        self._greenlet = None
        return Returned(value)


def suspend(call: Call) -> Any:
    """Hand the call out of the greenlet this runs in, and wait for its answer."""
    here = getcurrent()
    assert here.parent is not None, "only inside of a Run"
    return here.parent.switch(call)


class StandIn(torch.nn.Module):
    """Looks like a component and hands its calls out.

    Attributes other than the suspended methods are the real module's: its config, device and dtype.
    """

    def __init__(self, name: str, real: torch.nn.Module, methods: tuple[str, ...]) -> None:
        super().__init__()
        self.__dict__["_stands_for"] = real
        self.__dict__["_name"] = name
        for method in methods:
            if method != "forward":
                self.__dict__[method] = self._suspending(method)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return suspend(Call(self._name, "forward", args, kwargs))

    def _suspending(self, method: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: suspend(Call(self._name, method, args, kwargs))

    def modules(self) -> Any:
        return self.__dict__["_stands_for"].modules()

    def parameters(self, recurse: bool = True) -> Any:
        return self.__dict__["_stands_for"].parameters(recurse)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_stands_for"], name)


@dataclass(frozen=True, kw_only=True)
class Held:
    """Which calls of a pipeline are handed out: methods by the component's name."""

    methods: Mapping[str, tuple[str, ...]]
    replaced: Mapping[str, Any] = field(default_factory=dict)
    """Other attributes of the copy: its own scheduler, a cached `encode_prompt`."""
    device: torch.device | None = None
    """Where the pipeline computes; None: it looks for itself, in all modules of all components, at each call."""


_DEVICE = "_easel_device"


@cache
def _settled(kind: Any) -> type:
    """The pipeline's class with a device that is known."""
    return type(kind.__name__, (kind,), {"_execution_device": property(lambda own: own.__dict__[_DEVICE])})


def holding(pipeline: Any, held: Held) -> Any:
    """A copy of the pipeline for one run. Weights are shared; what the pipeline notes about a run is its own.

    The hooks of an offloaded pipeline are left alone: its components are called by whoever answers the calls.
    """
    own = copy.copy(pipeline)
    for name, methods in held.methods.items():
        own.__dict__[name] = StandIn(name, getattr(pipeline, name), methods)
    own.__dict__.update(held.replaced)
    if held.device is not None:
        own.__dict__[_DEVICE] = held.device
        own.__class__ = _settled(type(pipeline))  # type: ignore[arg-type]
    own.__dict__["maybe_free_model_hooks"] = lambda: None
    return own
