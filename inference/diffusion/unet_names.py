"""Names of a UNet's blocks in Stable Diffusion's original code and in Diffusers. Pure."""

from typing import Any


def original_to_diffusers(config: Any) -> dict[str, str]:
    """Diffusers' names by the original ones, which are written with `_`: `input_blocks_1_1` is
    `down_blocks.0.attentions.0`. `config` is a `UNet2DConditionModel`'s.
    """
    layers = config.layers_per_block
    if not isinstance(layers, int):
        return {}
    names = {
        "input_blocks_0_0": "conv_in", "out_2": "conv_out",
        "time_embed_0": "time_embedding.linear_1", "time_embed_2": "time_embedding.linear_2",
        "label_emb_0_0": "add_embedding.linear_1", "label_emb_0_2": "add_embedding.linear_2",
        "middle_block_0": "mid_block.resnets.0", "middle_block_1": "mid_block.attentions.0",
        "middle_block_2": "mid_block.resnets.1",
    }  # fmt: skip
    for number in range(len(config.down_block_types)):
        first = 1 + number * (layers + 1)
        for layer in range(layers):
            names[f"input_blocks_{first + layer}_0"] = f"down_blocks.{number}.resnets.{layer}"
            names[f"input_blocks_{first + layer}_1"] = f"down_blocks.{number}.attentions.{layer}"
        names[f"input_blocks_{first + layers}_0_op"] = f"down_blocks.{number}.downsamplers.0.conv"
    for number, kind in enumerate(config.up_block_types):
        first, has_attention = number * (layers + 1), "CrossAttn" in kind
        for layer in range(layers + 1):
            names[f"output_blocks_{first + layer}_0"] = f"up_blocks.{number}.resnets.{layer}"
            if has_attention:
                names[f"output_blocks_{first + layer}_1"] = f"up_blocks.{number}.attentions.{layer}"
        names[f"output_blocks_{first + layers}_{2 if has_attention else 1}"] = f"up_blocks.{number}.upsamplers.0"
    return names
