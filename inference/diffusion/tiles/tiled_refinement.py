"""Refinement at any size: the stock image-to-image pipeline, with a denoiser that sees overlapping tiles.

The pipeline works on the latents of the whole picture: it draws one noise field, and its scheduler makes each step for
all of them. Each call of the denoiser is made in tiles of the model's own size, and their predictions are blended, as
in MultiDiffusion (Bar-Tal et al. 2023). A tile has its own prompt, its own part of a control picture and, for SDXL, the
size conditioning of a crop: the picture's size as the original size, the tile's corner as the crop's, and the tile's
size as the target.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import torch
from PIL import Image

from bot.commands.refine_tiles import TILE_PROMPTS, plan_refinement
from bot.errors import InvalidOption
from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE, ModelSpec
from bot.ports import Task
from inference.diffusion.batching import BatchedModule
from inference.diffusion.control.controls import ControlNets
from inference.diffusion.coroutines import CallFilter, Method, ModuleCall, call_in_parts
from inference.diffusion.loader import call_parameters
from inference.diffusion.pipeline_run import PipelineRun, PipelineRunner, RunExtension
from inference.diffusion.pipeline_variants import FROM_IMAGE
from inference.diffusion.prompt_cache import PromptConditioner
from inference.diffusion.prompt_swap import PromptSwap
from inference.diffusion.sequence import ImageSequence
from inference.diffusion.tiles.tile_blending import Cells, blend_tiles, cells_of
from inference.diffusion.tiles.tiled_autoencoder import decode_in_tiles, encode_in_tiles
from inference.images.flatten import cover_crop

LATENT_ARGUMENTS: Mapping[str, str] = {"UNet2DConditionModel": "sample", "ZImageTransformer2DModel": "x"}
"""The argument with the latents, by the classes of denoisers that can be called for tiles."""

_SIZE_IDS = 6
"""Height and width of the original, top and left of the crop, height and width of the target."""


class TiledRefinement(RunExtension):
    """Comes before `controls`, which it prepares for tiles.

    `modules`: those that share passes, by name; the denoiser is the first.
    """

    def __init__(
        self,
        model: ModelSpec,
        runner: PipelineRunner,
        conditioner: PromptConditioner,
        controls: ControlNets,
        modules: Mapping[str, BatchedModule],
    ) -> None:
        self._model = model
        self._runner = runner
        self._conditioner = conditioner
        self._controls = controls
        self._denoiser = next(iter(modules.values()), None)

    def capabilities(self) -> Mapping[str, Any]:
        return {"refines_in_tiles": self._is_supported}

    def check_task(self, task: Task) -> Sequence[str]:
        if plan_refinement(task.options, task.model) is not None and not self._is_supported:
            raise InvalidOption("method", "model_lacks", value=self._model.name)
        return ()

    @cached_property
    def _is_supported(self) -> bool:
        if IMAGE_TO_IMAGE not in self._model.tasks or self._latent_argument is None:
            return False
        return {"strength", "callback_on_step_end"} <= set(call_parameters(self._runner.variant(FROM_IMAGE)))

    @property
    def _latent_argument(self) -> str | None:
        return LATENT_ARGUMENTS.get(type(self._denoiser.module).__name__) if self._denoiser is not None else None

    def prepare(self, run: PipelineRun) -> None:
        plan = plan_refinement(run.task.options, run.task.model)
        if plan is None:
            return
        assert self._denoiser is not None
        assert self._denoiser.rule is not None
        assert self._latent_argument is not None
        run.is_divided = True
        filters = list(run.denoiser_filters)  # the same object changes a prompt in every tile
        run.denoiser_filters.clear()
        tiles = TiledDenoiser(
            run=run,
            bind=self._denoiser.rule.bind_arguments,
            argument=self._latent_argument,
            boxes=plan.boxes,
            prompt_filters=self._prompt_filters(run, len(plan.boxes)) or [filters] * len(plan.boxes),
            prepare_controls=self._controls.prepare,
        )
        run.wrappers[run.denoiser] = {"forward": tiles.wrap}
        scale = int(run.pipeline.vae_scale_factor)
        run.wrappers["vae"] = {"encode": encode_in_tiles(scale), "decode": decode_in_tiles(scale)}

    def _prompt_filters(self, run: PipelineRun, count: int) -> list[list[CallFilter]]:
        """What gives each tile its prompt; empty: all have the prompt of the picture."""
        prompts = run.task.options.get(TILE_PROMPTS) or ()
        if len(prompts) != count:
            return []
        sequence, scheduler = run.sequence, run.overrides["scheduler"]
        swaps: dict[str, PromptSwap] = {}
        for prompt in dict.fromkeys(prompts):
            swap = self._conditioner.swap_for(with_prompt(run.task, prompt), sequence.index, scheduler)
            if swap is None:
                return []
            swaps[prompt] = swap
        return [[partial(_swap_prompt, swaps[prompt], sequence)] for prompt in prompts]


def _swap_prompt(swap: PromptSwap, sequence: ImageSequence, call: ModuleCall) -> ModuleCall:
    return swap.apply(call, sequence.pass_count)


def with_prompt(task: Task, prompt: str) -> Task:
    options = {name: value for name, value in task.options.items() if name not in (TILE_PROMPTS, "prompts")}
    return replace(task, options={**options, "prompt": prompt})


@dataclass(kw_only=True)
class TiledDenoiser:
    """Attributes:
    bind: gives a call's arguments by name.
    argument: name of the denoiser's argument with the latents.
    boxes: of the tiles, in pixels.
    prompt_filters: of each tile's calls.
    prepare_controls: adds the filters of a run's controls.
    """

    run: PipelineRun
    bind: Callable[[ModuleCall], Mapping[str, Any]]
    argument: str
    boxes: Sequence[tuple[int, int, int, int]]
    prompt_filters: Sequence[Sequence[CallFilter]]
    prepare_controls: Callable[[PipelineRun], None]
    _control_filters: list[list[CallFilter]] = field(default_factory=list)

    def wrap(self, forward: Method) -> Method:
        """The denoiser for the whole picture. `forward`: its call for one tile."""

        def predict(*args: Any, **kwargs: Any) -> Any:
            arguments = self.bind(ModuleCall(self.run.denoiser, "forward", args, kwargs))
            size = _size_of(arguments[self.argument])
            tiles = self._cells(size)
            if not self._control_filters:
                self._control_filters = self._filters_of_controls(size)
            parts = [partial(self._predict_tile, forward, arguments, size, tiles, n) for n in range(len(tiles))]
            outputs = call_in_parts(parts, self._tile_size(tiles[0]))
            return (_blend([output[0] for output in outputs], tiles, size),)

        return predict

    def _predict_tile(
        self, forward: Method, arguments: Mapping[str, Any], size: tuple[int, int], tiles: Sequence[Cells], number: int
    ) -> Any:
        cells = tiles[number]
        changed: dict[str, Any] = {self.argument: _cut(arguments[self.argument], cells)}
        added: Mapping[str, Any] = arguments.get("added_cond_kwargs") or {}
        if "time_ids" in added:
            changed["added_cond_kwargs"] = {**added, "time_ids": self._crop_ids(added["time_ids"], cells)}
        call = ModuleCall(self.run.denoiser, "forward", (), {**arguments, **changed})
        for change in (*self.prompt_filters[number], *self._control_filters[number]):
            call = change(call)
        return forward(*call.args, **call.kwargs)

    @property
    def _scale(self) -> int:
        """Pixels of a latent cell's side."""
        return int(self.run.pipeline.vae_scale_factor)

    def _cells(self, size: tuple[int, int]) -> list[Cells]:
        """The tiles in latent cells. Where the last ones would end beyond the latents, they begin earlier."""
        height, width = size
        cells = []
        for box in self.boxes:
            left, top, right, bottom = (side // self._scale for side in box)
            wide, high = min(right - left, width), min(bottom - top, height)
            cells.append(cells_of(min(left, width - wide), min(top, height - high), wide, high))
        return cells

    def _tile_size(self, cells: Cells) -> tuple[int, int]:
        """Width and height in pixels."""
        rows, columns = cells
        return (columns.stop - columns.start) * self._scale, (rows.stop - rows.start) * self._scale

    def _crop_ids(self, ids: torch.Tensor, cells: Cells) -> torch.Tensor:
        """SDXL's size conditioning of a tile: original size, corner, and target size or an aesthetic score."""
        changed = ids.clone()
        changed[:, 2:4] = ids.new_tensor([side.start * self._scale for side in cells])
        if ids.shape[1] == _SIZE_IDS:
            changed[:, 4:6] = ids.new_tensor([(side.stop - side.start) * self._scale for side in cells])
        return changed

    def _filters_of_controls(self, size: tuple[int, int]) -> list[list[CallFilter]]:
        """The filters of each tile, made by a run of its own with its part of the control pictures."""
        task = self.run.task
        if not any(image.role == "control" for image in task.images):
            return [[] for _ in self.boxes]
        height, width = (side * self._scale for side in size)
        others = [image for image in task.images if image.role != "control"]
        pictures = [
            (image, cover_crop(image.media.data, width, height)) for image in task.images if image.role == "control"
        ]
        filters = []
        for rows, columns in self._cells(size):
            box = tuple(side * self._scale for side in (columns.start, rows.start, columns.stop, rows.stop))
            controls = [replace(image, media=_png(picture.crop(box))) for image, picture in pictures]
            filters.append(self._prepare_tile(replace(task, images=(*others, *controls))))
        return filters

    def _prepare_tile(self, task: Task) -> list[CallFilter]:
        tile_run = replace(self.run, own_task=task, denoiser_filters=[], is_divided=False)
        self.prepare_controls(tile_run)
        return tile_run.denoiser_filters


def _size_of(latents: Any) -> tuple[int, int]:
    """Height and width of a tensor, or of those in a list."""
    first = latents if isinstance(latents, torch.Tensor) else latents[0]
    return int(first.shape[-2]), int(first.shape[-1])


def _cut(latents: Any, cells: Cells) -> Any:
    if isinstance(latents, torch.Tensor):
        return latents[(..., *cells)]
    return [one[(..., *cells)] for one in latents]


def _blend(outputs: Sequence[Any], tiles: Sequence[Cells], size: tuple[int, int]) -> Any:
    """Of each tile a tensor, or a list with one for each row."""
    if isinstance(outputs[0], torch.Tensor):
        return blend_tiles(outputs, tiles, size)
    return [blend_tiles(rows, tiles, size) for rows in zip(*outputs, strict=True)]


def _png(image: Image.Image) -> Media:
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=0)
    return Media(out.getvalue(), "image/png")
