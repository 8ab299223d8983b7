"""The control weights of one loaded model: loaded when a task first needs them, the least recently used freed first."""

from collections import OrderedDict
from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import torch

from bot.errors import InvalidOption, ModelUnavailable, OutOfMemory
from bot.memory.fit import format_gib
from bot.models import ModelSpec
from inference.checkpoints.control_layout import Z_IMAGE, ControlFiles, read_control_files
from inference.checkpoints.resolve import control_path
from inference.diffusion.batching import BatchedModule, batching_rule_for
from inference.diffusion.control.control_weights import load_control, misfit
from inference.diffusion.sequence import ImageSequence
from inference.engine.error_mapping import is_out_of_memory
from inference.memory.offload import offloader_of
from inference.memory.planner import free_memory_budget

MAX_LOADED = 6


@dataclass(eq=False)
class LoadedControl:
    """Attributes:
    name: of its component: of its calls and in the memory plan.
    users: the images in flight that use it.
    """

    name: str
    files: ControlFiles
    module: Any
    users: WeakSet[ImageSequence] = field(default_factory=WeakSet)

    @property
    def class_name(self) -> str:
        return self.files.layout.class_name

    @property
    def is_in_use(self) -> bool:
        return any(not sequence.is_finished for sequence in self.users)


class ControlStore:
    """`modules`: the loaded ControlNets are entered there, as their calls share passes."""

    def __init__(self, model: ModelSpec, pipeline: Any, modules: MutableMapping[str, BatchedModule]) -> None:
        self._model = model
        self._pipeline = pipeline
        self._modules = modules
        self._loaded: OrderedDict[str, LoadedControl] = OrderedDict()

    def find_files(self, kind: str) -> ControlFiles | None:
        """The weights configured for this kind; None: there are none.

        Raises: InvalidOption: they are not here, or do not fit the model. The model itself stays usable.
        """
        source = self._model.control_source(kind)
        if source is None:
            return None
        try:
            files = read_control_files(control_path(source, self._model.name), self._model.name)
        except ModelUnavailable as error:
            raise InvalidOption(kind, "control_unusable", value=self._model.name) from error
        problem = misfit(files, kind, self._pipeline)
        if problem:
            raise InvalidOption(kind, "control_misfit", value=self._model.name, allowed=problem)
        return files

    def load(self, kind: str, user: ImageSequence | None = None) -> LoadedControl:
        """`user`: the image that keeps it loaded until it is finished.

        Raises: InvalidOption: the model has no such control, or it does not fit; OutOfMemory.
        """
        files = self.find_files(kind)
        if files is None:
            raise InvalidOption(kind, "control_lacks", value=self._model.name)
        name = f"control {files.path}"
        if name not in self._loaded:
            self._make_room(files)
            self._loaded[name] = self._load(name, files, kind)
        self._loaded.move_to_end(name)
        if user is not None:
            self._loaded[name].users.add(user)
        return self._loaded[name]

    def _load(self, name: str, files: ControlFiles, kind: str) -> LoadedControl:
        if files.layout.class_name == Z_IMAGE:
            for called in self._modules.values():
                called.restore_weights()  # it computes with layers of the transformer
        try:
            module = load_control(files, self._pipeline, self._dtype)
        except Exception as error:  # the libraries raise many types for weights that do not fit
            if is_out_of_memory(error):
                raise
            problem = "its weights do not match its configuration"
            raise InvalidOption(kind, "control_misfit", value=self._model.name, allowed=problem) from error
        self._place(name, module, files)
        rule = batching_rule_for(module)
        if rule is not None:
            self._modules[name] = BatchedModule(module, rule, uses_denoiser=files.layout.class_name == Z_IMAGE)
        return LoadedControl(name, files, module)

    @property
    def _dtype(self) -> torch.dtype:
        denoiser = getattr(self._pipeline, "unet", None) or self._pipeline.transformer
        dtype: torch.dtype = denoiser.dtype
        return dtype

    def _place(self, name: str, module: Any, files: ControlFiles) -> None:
        offloader = offloader_of(self._pipeline)
        if offloader is None:
            module.to(self._pipeline.device)
        elif files.layout.class_name == Z_IMAGE and offloader.moves("transformer"):
            # it computes with layers of the transformer, which are then not on the device
            raise InvalidOption("control", "control_no_memory", value=self._model.name)
        else:
            offloader.add_component(name, module)

    def _make_room(self, files: ControlFiles) -> None:
        """Free unused controls until there is memory for these. Raises: OutOfMemory."""
        size_mb = -(-files.size // 2**20)
        while len(self._loaded) >= MAX_LOADED or not self._fits(size_mb):
            unused = next((one for one in self._loaded.values() if not one.is_in_use), None)
            if unused is None:
                break
            self._free(unused)
        if not free_memory_budget("cpu").fits(0, size_mb):
            raise OutOfMemory(f"a control needs {format_gib(size_mb)} of RAM")

    def _fits(self, size_mb: int) -> bool:
        offloader = offloader_of(self._pipeline)
        device = str(offloader.device) if offloader is not None else "cpu"
        budget = free_memory_budget(device)
        return budget.fits(size_mb if budget.device_mb else 0, size_mb)

    def _free(self, control: LoadedControl) -> None:
        del self._loaded[control.name]
        self._modules.pop(control.name, None)
        offloader = offloader_of(self._pipeline)
        if offloader is not None:
            offloader.remove_component(control.name)

    def close(self) -> None:
        for control in list(self._loaded.values()):
            self._free(control)

    def servable_kinds(self, kinds: tuple[str, ...]) -> list[str]:
        """Of these, the kinds whose weights are here and fit."""
        return [kind for kind in kinds if self._is_servable(kind)]

    def _is_servable(self, kind: str) -> bool:
        try:
            return self.find_files(kind) is not None
        except InvalidOption:
            return False
