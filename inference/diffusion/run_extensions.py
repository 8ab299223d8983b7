"""The features that add to images' pipeline runs, in the order in which they do."""

from collections.abc import MutableMapping

from bot.models import ModelSpec
from inference.diffusion.batching import BatchedModule
from inference.diffusion.control.controls import ControlNets
from inference.diffusion.control.references import AdapterReferences
from inference.diffusion.pipeline_run import PipelineRunner, RunExtension
from inference.diffusion.plugin_hooks import PluginHooks
from inference.diffusion.prompt_cache import PromptConditioner
from inference.diffusion.row_options import RowOptions
from inference.diffusion.tiles.tiled_refinement import TiledRefinement


def create_extensions(
    model: ModelSpec,
    runner: PipelineRunner,
    denoiser: str,
    conditioner: PromptConditioner,
    modules: MutableMapping[str, BatchedModule],
    plugin_hooks: PluginHooks,
) -> list[RunExtension]:
    """`denoiser`: its name among the modules; empty: the model's is not known."""
    pipeline = runner.pipelines[""]

    def restore_weights() -> None:
        """Of the torch denoiser, if they were released."""
        for module in modules.values():
            module.restore_weights()

    controls = ControlNets(model, pipeline, denoiser, modules)
    return [
        RowOptions(model, runner, conditioner),
        TiledRefinement(model, runner, conditioner, controls, modules),
        controls,
        AdapterReferences(model, pipeline, restore_weights),
        plugin_hooks,
    ]
