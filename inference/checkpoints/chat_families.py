"""The families of vision-language models that chat. A further family is one more line. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class ChatFamily:
    """Transformers' classes of a family: of the model, its processor and its processor's image processor.

    `title`: what its models are called. `image_processor`: "": the family has none without torchvision.
    """

    title: str
    model: str
    processor: str
    image_processor: str


FAMILIES: Mapping[str, ChatFamily] = {
    "gemma3": ChatFamily("Gemma 3", "Gemma3ForConditionalGeneration", "Gemma3Processor", "Gemma3ImageProcessorPil"),
    "gemma4": ChatFamily("Gemma 4", "Gemma4ForConditionalGeneration", "Gemma4Processor", "Gemma4ImageProcessorPil"),
    "glm4v": ChatFamily("GLM-4.1V", "Glm4vForConditionalGeneration", "Glm4vProcessor", "Glm4vImageProcessorPil"),
    "idefics3": ChatFamily(
        "Idefics 3", "Idefics3ForConditionalGeneration", "Idefics3Processor", "Idefics3ImageProcessorPil"
    ),
    "internvl": ChatFamily(
        "InternVL 3 and 3.5 (-hf)", "InternVLForConditionalGeneration", "InternVLProcessor", "GotOcr2ImageProcessorPil"
    ),
    "lfm2_vl": ChatFamily("LFM2-VL", "Lfm2VlForConditionalGeneration", "Lfm2VlProcessor", ""),
    "llava": ChatFamily("LLaVA 1.5", "LlavaForConditionalGeneration", "LlavaProcessor", "CLIPImageProcessorPil"),
    "llava_next": ChatFamily(
        "LLaVA 1.6", "LlavaNextForConditionalGeneration", "LlavaNextProcessor", "LlavaNextImageProcessorPil"
    ),
    "llava_onevision": ChatFamily(
        "LLaVA-OneVision",
        "LlavaOnevisionForConditionalGeneration",
        "LlavaOnevisionProcessor",
        "LlavaOnevisionImageProcessorPil",
    ),
    "qwen2_vl": ChatFamily(
        "Qwen2-VL", "Qwen2VLForConditionalGeneration", "Qwen2VLProcessor", "Qwen2VLImageProcessorPil"
    ),
    "qwen2_5_vl": ChatFamily(
        "Qwen2.5-VL", "Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLProcessor", "Qwen2VLImageProcessorPil"
    ),
    "qwen3_5": ChatFamily(
        "Qwen3.5 (seeing)", "Qwen3_5ForConditionalGeneration", "Qwen3VLProcessor", "Qwen2VLImageProcessorPil"
    ),
    "qwen3_5_moe": ChatFamily(
        "Qwen3.5 MoE (seeing)", "Qwen3_5MoeForConditionalGeneration", "Qwen3VLProcessor", "Qwen2VLImageProcessorPil"
    ),
    "qwen3_vl": ChatFamily(
        "Qwen3-VL", "Qwen3VLForConditionalGeneration", "Qwen3VLProcessor", "Qwen2VLImageProcessorPil"
    ),
    "qwen3_vl_moe": ChatFamily(
        "Qwen3-VL MoE", "Qwen3VLMoeForConditionalGeneration", "Qwen3VLProcessor", "Qwen2VLImageProcessorPil"
    ),
    # Its own processor needs num2words, for videos; that of Idefics 3 writes the same prompts.
    "smolvlm": ChatFamily(
        "SmolVLM 2", "SmolVLMForConditionalGeneration", "Idefics3Processor", "SmolVLMImageProcessorPil"
    ),
}
"""By the `model_type` of the checkpoint's config."""
FAMILY_BY_CLASS: Mapping[str, str] = {family.model: name for name, family in FAMILIES.items()}
