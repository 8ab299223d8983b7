"""Keeps components on the device while their inner parts are called, which the hooks of the offloader do not see."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from inference.memory.offload import offloader_of


@contextmanager
def on_device(model: Any, *names: str) -> Iterator[None]:
    """No effect on components that are there anyway."""
    offloader = offloader_of(model)
    with ExitStack() as stack:
        for name in names:
            component = getattr(model, name)
            if offloader is not None and getattr(component, "_hf_hook", None) is not None:
                stack.enter_context(offloader.kept_on_device(name))
                component.to(offloader.device)
        yield
