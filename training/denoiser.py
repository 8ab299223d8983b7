"""The denoiser with its text encoder, and their loss.

The noise schedule ends at pure noise (zero terminal SNR), without which flat saturated backgrounds come out gray;
timesteps near that end are sampled more often, because they decide colours and shapes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm  # type: ignore[import-untyped]  # it ships no types
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from training.autoencoder import LATENT_CHANNELS
from training.colours import colour_rgb
from training.draw import HEIGHT_JITTER, compose_image, images_to_tensor
from training.prompts import PromptWriter, complete_scene
from training.runs import mixed_precision
from training.scenes import COUNTED, PAIRED, SIZED, SPOTTED, SceneSampler
from training.world import HEIGHTS, SIZE, Placed, default_background, is_held_out, training_scenes

PROMPT_LENGTH = 32
WIDTH = 192
LATENT_SIDE = SIZE // 16


class TextToImageModel(nn.Module):
    """Denoiser and text encoder as one module to train."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.unet = build_unet()
        self.text_encoder = build_text_encoder(tokenizer)


def build_unet() -> UNet2DConditionModel:
    """An untrained denoiser of 8 x 8 x 32 latents, conditioned on the pooled prompt in addition to its tokens."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(128, 224),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
        resnet_time_scale_shift="scale_shift",
    )


def build_text_encoder(tokenizer: PreTrainedTokenizerFast) -> CLIPTextModel:
    """An untrained text encoder."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        projection_dim=WIDTH,
        max_position_embeddings=PROMPT_LENGTH,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    encoder = CLIPTextModel(config)
    nn.init.normal_(encoder.get_input_embeddings().weight, std=0.5)
    return encoder


def build_scheduler() -> DDIMScheduler:
    """The noise schedule for training and sampling."""
    return DDIMScheduler(
        beta_schedule="scaled_linear",
        beta_start=0.00085,
        beta_end=0.012,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        steps_offset=1,
        clip_sample=False,
    )


OTHER_KINDS = {SIZED: 0.2, SPOTTED: 0.25, COUNTED: 0.2, PAIRED: 0.35}
PLAIN_SHARE = 0.85
SHAPE_SHARE = 0.22
PURE_NOISE_SHARE = 0.45
"""The share of samples at pure noise, where only the prompt determines the image."""


class LatentTable:
    """The latents of every plain training scene at three heights, and of many other scenes, computed once."""

    def __init__(self, autoencoder: AutoencoderKL, others: int, file: Path, stride: int = 1) -> None:
        """Load the table from the file, or compute it: of every plain scene, or of every `stride`-th."""
        heights = HEIGHT_JITTER[HEIGHTS[""]]
        self.plain, sampler = training_scenes()[::stride], SceneSampler(OTHER_KINDS)
        rng = np.random.default_rng(3)
        self.others = [sampler.sample_scene(rng) for _ in range(others)]
        layouts = [[Placed(s.thing, (0.5, 0.5), h)] for h in heights for s in self.plain]
        layouts += [list(scene.layout()) for scene in self.others]
        backgrounds = [scene.background for scene in (*self.plain * len(heights), *self.others)]
        if not file.exists():
            torch.save(_encode_layouts(autoencoder, layouts, backgrounds), file)
        table = torch.load(file, weights_only=True)
        self.scaling = 1 / float(table.float().std())
        self.table = (table.float() * self.scaling).to(torch.bfloat16)

    def plain_row(self, index: int, rng: np.random.Generator) -> int:
        """The row of a plain scene, at a random height."""
        return int(rng.integers(len(HEIGHT_JITTER[HEIGHTS[""]]))) * len(self.plain) + index

    def other_row(self, index: int) -> int:
        return len(HEIGHT_JITTER[HEIGHTS[""]]) * len(self.plain) + index


@torch.no_grad()
def _encode_layouts(autoencoder: AutoencoderKL, layouts: list[list[Placed]], backgrounds: list[str]) -> Tensor:
    rows = []
    for start in tqdm(range(0, len(layouts), 64), "latents", mininterval=5.0):
        pairs = zip(layouts[start : start + 64], backgrounds[start : start + 64], strict=True)
        images = images_to_tensor([compose_image(layout, colour_rgb(background)) for layout, background in pairs])
        with mixed_precision():
            rows.append(autoencoder.encode(images).latent_dist.mean.bfloat16())
    return torch.cat(rows)


class DenoiserLoss:
    """Velocity loss on noisy latents with prompts that describe them."""

    def __init__(
        self, model: TextToImageModel, tokenizer: PreTrainedTokenizerFast, latents: LatentTable, batch: int = 128
    ) -> None:
        self.model, self.tokenizer, self.latents, self.batch = model, tokenizer, latents, batch
        self.numbers = {scene: number for number, scene in enumerate(latents.plain)}
        shapes = [n for n, scene in enumerate(latents.plain) if scene.thing.colour]
        objects = [n for n, scene in enumerate(latents.plain) if not scene.thing.colour]
        self.pools = (np.array(objects), np.array(shapes))
        self.scheduler = build_scheduler()

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        prompts, rows = self._sample_prompts(rng)
        clean = self.latents.table[rows].float()
        noise = torch.randn_like(clean)
        sampled = 1000 * rng.random(self.batch) ** 0.6
        sampled[rng.random(self.batch) < PURE_NOISE_SHARE] = 999
        timesteps = torch.from_numpy(sampled).long().clamp(0, 999)
        noisy = self.scheduler.add_noise(clean, noise, timesteps)
        ids = self.tokenizer(
            prompts, padding="max_length", max_length=PROMPT_LENGTH, truncation=True,
            return_tensors="pt",
        ).input_ids  # fmt: skip
        with mixed_precision():
            embeds = self.model.text_encoder(ids)[0]
            predicted = self.model.unet(noisy, timesteps, embeds).sample.float()
        return F.mse_loss(predicted, self.scheduler.get_velocity(clean, noise, timesteps))

    def _sample_prompts(self, rng: np.random.Generator) -> tuple[list[str], list[int]]:
        """Prompts, one in ten empty, and the rows of the latents that they describe."""
        writer = PromptWriter(rng)
        prompts, rows = [], []
        for _ in range(self.batch):
            is_plain = not self.latents.others or writer.chance(PLAIN_SHARE)
            prompt, row = self._sample_plain(writer) if is_plain else self._sample_other(writer)
            prompts.append("" if writer.chance(0.1) else prompt)
            rows.append(row)
        return prompts, rows

    def _sample_plain(self, writer: PromptWriter) -> tuple[str, int]:
        pool = self.pools[writer.chance(SHAPE_SHARE)]
        scene = self.latents.plain[int(pool[int(writer.rng.integers(len(pool)))])]
        says_colour, says_background = not writer.chance(0.05), not writer.chance(0.12)
        target = complete_scene(scene, says_colour, says_background)
        if is_held_out(target) or target not in self.numbers:
            says_colour, says_background, target = True, True, scene
        prompt = writer.write_prompt(scene, says_colour, says_background)
        return prompt, self.latents.plain_row(self.numbers[target], writer.rng)

    def _sample_other(self, writer: PromptWriter) -> tuple[str, int]:
        number = int(writer.rng.integers(len(self.latents.others)))
        scene = self.latents.others[number]
        is_default = scene.background == default_background(scene.thing)
        prompt = writer.write_prompt(scene, says_background=not (is_default and writer.chance(0.7)))
        return prompt, self.latents.other_row(number)
