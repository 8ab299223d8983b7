"""The controls of a task: which of them the loaded model can serve, and what becomes of the others."""

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from bot.i18n import N_
from bot.models import CONTROL_KINDS, ModelSpec
from bot.ports import Task
from inference.checkpoints.control_layout import Z_IMAGE
from inference.diffusion.batching import BatchedModule
from inference.diffusion.control.control_flow import TransformerControls
from inference.diffusion.control.control_run import AppliedControl, UNetControls, control_images
from inference.diffusion.control.control_store import ControlStore
from inference.diffusion.coroutines import ModuleCall
from inference.diffusion.pipeline_run import PipelineRun, RunExtension

AS_REFERENCE = N_("The model has no ControlNet: it takes the control as a reference picture.")


class ControlNets(RunExtension):
    """Serves images with the role "control" by the weights in the model's `controls`.

    `modules`: the modules that share passes, the denoiser among them.
    """

    def __init__(
        self, model: ModelSpec, pipeline: Any, denoiser: str, modules: MutableMapping[str, BatchedModule]
    ) -> None:
        self._model = model
        self._denoiser = denoiser
        self._modules = modules
        self._store = ControlStore(model, pipeline, modules)

    def capabilities(self) -> Mapping[str, Any]:
        kinds = tuple(kind for kind in CONTROL_KINDS if self._model.control_source(kind) is not None)
        return {"controls": self._store.servable_kinds(kinds)}

    def adapt_task(self, task: Task) -> Task:
        """A model without ControlNets that takes references gets its controls as such."""
        if not self._needs_references(task):
            return task
        controls = {id(image) for image in control_images(task)}
        images = (
            replace(image, role="reference", kind="") if id(image) in controls else image for image in task.images
        )
        return replace(task, images=tuple(image for image in images if image.role != "control"))

    def check_task(self, task: Task) -> Sequence[str]:
        """Loads the weights that it needs."""
        if self._needs_references(task):
            return [AS_REFERENCE]
        for image in control_images(task):
            self._store.load(image.kind)
        return ()

    def prepare(self, run: PipelineRun) -> None:
        if run.is_divided:
            return
        controls = [
            AppliedControl(image, self._store.load(image.kind, run.sequence)) for image in control_images(run.task)
        ]
        if not controls:
            return
        is_flow = controls[0].control.class_name == Z_IMAGE
        kind = TransformerControls if is_flow else UNetControls
        run.denoiser_filters.append(kind(run, controls, self._bind))

    def close(self) -> None:
        self._store.close()

    def _bind(self, call: ModuleCall) -> Mapping[str, Any]:
        rule = self._modules[self._denoiser].rule
        assert rule is not None, "the families with controls have rules"
        return rule.bind_arguments(call)

    def _needs_references(self, task: Task) -> bool:
        kinds = [image.kind for image in control_images(task)]
        return (
            bool(kinds)
            and self._model.takes_references
            and all(self._model.control_source(kind) is None for kind in kinds)
        )
