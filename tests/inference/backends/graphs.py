"""Graphs of tiny models, for tests of every installed backend."""

from pathlib import Path

from diffusers import StableDiffusionPipeline, UNet2DConditionModel

from inference.backends.export import export_module
from inference.backends.graph import GRAPH_BACKENDS, graph_backend
from inference.diffusion.loader import load_pipeline
from tests.backends_required import require_backend
from tests.inference.support import make_model
from tests.inference.tiny import save_diffusion

BACKENDS = tuple(GRAPH_BACKENDS)


def export_denoiser(backend: str, model: Path, build: Path) -> Path:
    """The build of a model's denoiser, as `models optimize` makes it."""
    require_backend(backend)
    pipeline = load_pipeline(make_model(repo=str(model)), model, "cpu")
    export_module(getattr(pipeline, "unet", None) or pipeline.transformer, graph_backend(backend), build)
    return build


def save_v_prediction(folder: Path) -> Path:
    """Stable Diffusion 2.x: linear projections, as many heads as each width has, v-prediction."""
    save_diffusion(folder)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None, requires_safety_checker=False)
    config = dict(pipeline.unet.config) | {"use_linear_projection": True, "attention_head_dim": (2, 4)}
    unet = UNet2DConditionModel.from_config(config)
    unet.save_pretrained(folder / "unet")
    kind = type(pipeline.scheduler)
    kind.from_config(pipeline.scheduler.config, prediction_type="v_prediction").save_pretrained(folder / "scheduler")
    return folder
