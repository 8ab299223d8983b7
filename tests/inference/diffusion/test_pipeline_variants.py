"""The pipelines that are named here are those that Diffusers' own table gives, of the same parts."""

import pytest
from diffusers import (
    AutoPipelineForImage2Image,
    AutoPipelineForInpainting,
    AutoPipelineForText2Image,
    DiffusionPipeline,
)

from inference.diffusion.pipeline_variants import FROM_PICTURE, WITH_MASK, from_words, sibling
from tests.inference.families import save_sdxl, save_z_image
from tests.inference.tiny import save_diffusion

AUTO = {FROM_PICTURE: AutoPipelineForImage2Image, WITH_MASK: AutoPipelineForInpainting}


@pytest.fixture(scope="module", params=[save_diffusion, save_sdxl], ids=["sd", "sdxl"])
def pipeline(request, tmp_path_factory):
    return DiffusionPipeline.from_pretrained(request.param(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.mark.parametrize("kind", [FROM_PICTURE, WITH_MASK])
def test_it_is_what_the_table_of_all_families_gives(pipeline, kind):
    made, expected = sibling(pipeline, kind), AUTO[kind].from_pipe(pipeline)

    assert type(made) is type(expected)
    assert made.components.keys() == expected.components.keys()
    assert all(made.components[name] is expected.components[name] for name in made.components)
    assert _settings(made) == _settings(expected)


def _settings(pipeline) -> dict:
    return {key: value for key, value in pipeline.config.items() if not key.startswith("_")}


def test_what_loads_a_usual_family_is_its_own_class(pipeline):
    assert from_words(type(pipeline).__name__) is type(pipeline)


def test_other_families_are_found_in_the_table(tmp_path):
    pipeline = DiffusionPipeline.from_pretrained(save_z_image(tmp_path / "tiny"))

    assert from_words(type(pipeline).__name__) is AutoPipelineForText2Image
    assert type(sibling(pipeline, FROM_PICTURE)).__name__ == "ZImageImg2ImgPipeline"
