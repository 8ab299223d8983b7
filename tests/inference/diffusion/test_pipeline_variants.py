"""The pipelines listed for common families are those that Diffusers' AutoPipeline chooses, with the same components."""

import pytest
from diffusers import (
    AutoPipelineForImage2Image,
    AutoPipelineForInpainting,
    AutoPipelineForText2Image,
    DiffusionPipeline,
)

from inference.diffusion.pipeline_variants import FROM_IMAGE, WITH_MASK, pipeline_variant, text_to_image_class
from tests.inference.families import save_sdxl, save_z_image
from tests.inference.tiny import save_diffusion

AUTO = {FROM_IMAGE: AutoPipelineForImage2Image, WITH_MASK: AutoPipelineForInpainting}


@pytest.fixture(scope="module", params=[save_diffusion, save_sdxl], ids=["sd", "sdxl"])
def pipeline(request, tmp_path_factory):
    return DiffusionPipeline.from_pretrained(request.param(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.mark.parametrize("kind", [FROM_IMAGE, WITH_MASK])
def test_a_listed_variant_equals_the_one_of_auto_pipeline(pipeline, kind):
    variant, expected = pipeline_variant(pipeline, kind), AUTO[kind].from_pipe(pipeline)

    assert type(variant) is type(expected)
    assert variant.components.keys() == expected.components.keys()
    assert all(variant.components[name] is expected.components[name] for name in variant.components)
    assert public_config(variant) == public_config(expected)


def public_config(pipeline) -> dict:
    return {key: value for key, value in pipeline.config.items() if not key.startswith("_")}


def test_a_listed_family_is_loaded_by_its_own_class(pipeline):
    assert text_to_image_class(type(pipeline).__name__) is type(pipeline)


def test_other_families_use_auto_pipeline(tmp_path):
    pipeline = DiffusionPipeline.from_pretrained(save_z_image(tmp_path / "tiny"))

    assert text_to_image_class(type(pipeline).__name__) is AutoPipelineForText2Image
    assert type(pipeline_variant(pipeline, FROM_IMAGE)).__name__ == "ZImageImg2ImgPipeline"
