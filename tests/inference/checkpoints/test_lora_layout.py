"""What a LoRA is for, and what of it cannot be computed, by the names and shapes in its header."""

import pytest

from inference.checkpoints.lora_layout import read_layout


def pair(module: str, down: str = ".lora_down.weight", up: str = ".lora_up.weight", width: int = 768):
    return {f"{module}{down}": [4, width], f"{module}{up}": [320, 4]}


PEFT = (".lora_A.weight", ".lora_B.weight")
UNET_KEY = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_k"


@pytest.mark.parametrize(
    ("shapes", "family"),
    [
        (pair(UNET_KEY), "sd15"),
        (pair(UNET_KEY, width=1024), "sd21"),
        (pair("lora_unet_middle_block_1_transformer_blocks_9_attn1_to_k", width=1280), "sdxl"),
        (pair("unet.up_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_v", "_lora.down.weight",
              "_lora.up.weight"), "sd15"),
        ({f"{UNET_KEY}.{name}": [8, 8] if name == "lokr_w1" else [40, 96] for name in ("lokr_w1", "lokr_w2")}, "sd15"),
        ({f"{UNET_KEY}.hada_{name}": [4, 2048] if name.endswith("b") else [640, 4]
          for name in ("w1_a", "w1_b", "w2_a", "w2_b")}, "sdxl"),
        (pair("lora_te_text_model_encoder_layers_0_self_attn_q_proj"), "sd15"),
        (pair("lora_te2_text_model_encoder_layers_0_self_attn_q_proj", width=1280), "sdxl"),
        (pair("transformer.single_transformer_blocks.19.attn.to_out", ".lora_A.weight", ".lora_B.weight"),
         "flux2-klein"),
        ({"lora_unet_single_blocks_7_linear1.lora_down.weight": [4, 3072],
          "lora_unet_single_blocks_7_linear1.lora_up.weight": [27648, 4]}, "flux2-klein"),
        (pair("text_encoders.clip_g.transformer.text_model.encoder.layers.0.self_attn.q_proj", width=1280), "sdxl"),
        (pair("diffusion_model.layers.3.attention.to_q", ".lora_A.weight", ".lora_B.weight"), "z-image"),
        (pair("transformer.transformer_blocks.3.attn.to_gate", *PEFT), "krea2"),
        (pair("diffusion_model.blocks.3.attn.wq", *PEFT), "krea2"),
        (pair("base_model.model.txtfusion.refiner_blocks.0.mlp.up", *PEFT), "krea2"),
        (pair("transformer.transformer_blocks.27.attn.to_out.0", *PEFT, width=6144), "krea2"),
        (pair("transformer.transformer_blocks.3.img_mlp.net.0.proj", *PEFT), "qwen-image"),
        ({**pair("transformer_blocks.3.txt_mod.1"), "transformer_blocks.3.txt_mod.1.alpha": []}, "qwen-image"),
        (pair("lora_unet_transformer_blocks_3_img_mlp_net_2"), "qwen-image"),
        (pair("transformer.transformer_blocks.59.attn.to_q", *PEFT, width=3072), "qwen-image"),
        (pair("transformer.transformer_blocks.3.img_mlp.gate_layer", *PEFT), "qwen-image-21"),
        (pair("transformer.transformer_blocks.31.attn.to_q", *PEFT, width=4096), "qwen-image-21"),
        (pair("transformer.layers.3.self_attention.to_out.0", *PEFT), "ernie-image"),
        ({**pair("diffusion_model.layers.3.self_attention.to_q", *PEFT),
          **pair("diffusion_model.time_embedding.linear_1", *PEFT)}, "ernie-image"),
    ],
)  # fmt: skip
def test_the_family_is_read_from_the_header(shapes, family):
    layout = read_layout(shapes)

    assert (layout.family, layout.problem) == (family, "")


@pytest.mark.parametrize(
    ("shapes", "part"),
    [
        ({f"{UNET_KEY}.oft_blocks": [4, 8, 8]}, "OFT"),
        ({f"{UNET_KEY}.{name}.weight": [4, 4] for name in ("a1", "a2", "b1", "b2")}, "GLoRA"),
        ({**pair(UNET_KEY), "lora_unet_mid_block_resnets_0_norm1.w_norm": [320]}, "norms"),
        ({**pair(UNET_KEY), "bundle_emb.x.string_to_param.*": [2, 768]}, "bundled textual inversion"),
        ({**pair(UNET_KEY), "lora_unet_mid_block_resnets_0_norm1.diff": [320]}, "changes mid_block_resnets_0_norm1"),
        ({"lora_unet_out_0.diff": [320], **pair(UNET_KEY)}, "changes out_0"),
        ({"lora_te_text_model_final_layer_norm.diff": [768]}, "changes text_model_final_layer_norm"),
        ({"unet.mid_block.attentions.0.attn2.processor.to_k_custom_diffusion.weight": [4, 4]}, "Custom Diffusion"),
        ({f"{UNET_KEY}.lora_down.weight": [4, 768]}, "incomplete"),
        ({**pair(UNET_KEY), f"{UNET_KEY}.strange": [1]}, "unknown"),
        ({f"{UNET_KEY}.lora_down.weight": [4, 768], f"{UNET_KEY}.lora_up.weight": [320, 8]}, "damaged"),
        (pair("lora_unet_joint_blocks_0_x_block_attn_qkv"), "Stable Diffusion 3"),
        (pair("lora_unet_double_blocks_18_img_attn_proj"), "FLUX"),
        (pair("transformer.single_transformer_blocks.37.attn.to_q", ".lora_A.weight", ".lora_B.weight"), "FLUX"),
        (pair("diffusion_model.blocks.3.self_attn.q"), "Wan"),
        (pair("down_blocks.0.motion_modules.0.temporal_transformer.transformer_blocks.0.attn1.to_q"), "AnimateDiff"),
        ({"lora_unet_conv_in.lora_down.weight": [4, 9, 3, 3], "lora_unet_conv_in.lora_up.weight": [320, 4, 1, 1]},
         "9 channels"),
        ({**pair(UNET_KEY), f"{UNET_KEY}.alpha": [4]}, "damaged"),
        ({f"{UNET_KEY}.lora_down.weight": [0, 768], f"{UNET_KEY}.lora_up.weight": [320, 0]}, "damaged"),
        ({**pair(UNET_KEY), f"{UNET_KEY}.lora_mid.weight": [3, 3, 3, 3]}, "damaged"),
        ({f"{UNET_KEY}.hada_{name}": [4, 768] if name.endswith("b") else [320, 3]
          for name in ("w1_a", "w1_b", "w2_a", "w2_b")}, "damaged"),
        ({f"{UNET_KEY}.hada_{name}": [4, 4, 3, 3] for name in ("w1_a", "w1_b", "w2_a", "w2_b", "t1")}, "incomplete"),
        ({f"{UNET_KEY}.lokr_{name}": [4, 5] for name in ("w1", "w2_a", "w2_b")}, "damaged"),
        ({f"base_model.model.{UNET_KEY}.ia3_l": [320, 1]}, "PEFT adapter"),
        ({**pair(UNET_KEY, ".lora_A.weight", ".lora_B.weight"), f"{UNET_KEY}.lora_B.bias": [320]}, "PEFT adapter"),
        # FLUX.1's layers that klein has too: 7, 12, 16 and 20 of its single blocks are often trained alone
        (pair("transformer.single_transformer_blocks.7.proj_out", ".lora_A.weight", ".lora_B.weight"), "FLUX"),
        ({"lora_unet_single_blocks_7_linear2.lora_down.weight": [4, 15360],
          "lora_unet_single_blocks_7_linear2.lora_up.weight": [3072, 4]}, "FLUX"),
        ({"lora_unet_single_blocks_7_linear1.lora_down.weight": [4, 3072],
          "lora_unet_single_blocks_7_linear1.lora_up.weight": [21504, 4]}, "FLUX"),
        ({"lora_unet_single_blocks_7_linear1.lora_down.weight": [4, 6144],
          "lora_unet_single_blocks_7_linear1.lora_up.weight": [55296, 4]}, "FLUX"),
        ({**pair("diffusion_model.layers.3.attention.to_q"), "diffusion_model.layers.3.attention.to_q.dora_scale": [9]},
         "not a plain LoRA"),
        # what Diffusers does not read of these families, or not wholly
        ({**pair("diffusion_model.blocks.3.attn.wq", *PEFT), "diffusion_model.blocks.3.attn.wq.alpha": []}, "krea2"),
        (pair("lora_unet_blocks_3_attn_wq"), "krea2"),
        (pair("diffusion_model.transformer_blocks.3.ff.gate", *PEFT), "krea2"),
        (pair("blocks.3.attn.wq", *PEFT), "krea2"),
        (pair("transformer_blocks.3.img_mlp.net.2", *PEFT), "qwen-image"),
        (pair("lora_unet_transformer_blocks_3_img_mlp_out"), "qwen-image-21"),
        (pair("layers.3.self_attention.to_q", *PEFT), "ernie-image"),
        (pair("transformer.layers.3.self_attention.to_q"), "ernie-image"),
        ({"transformer.transformer_blocks.3.img_mlp.net.2.lokr_w1": [8], "transformer.x.lokr_w2": []}, "plain LoRA"),
        # attention alone, of transformers that share their names
        (pair("transformer.transformer_blocks.18.attn.to_q", *PEFT, width=3072), "does not know"),
        (pair("transformer.transformer_blocks.37.attn.to_q", *PEFT, width=2432), "does not know"),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_is_told_by_the_header(shapes, part):
    assert part in read_layout(shapes).problem


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000])
def test_a_scale_that_cannot_be_read_is_told_by_the_header(text):
    assert "metadata" in read_layout(pair(UNET_KEY), {"lora_adapter_metadata": text}).problem
