"""The denoiser with its text encoder: what each is, and what they learn from, together.

Noise ends at nothing but noise (zero terminal signal-to-noise), without which flat saturated
backgrounds come out gray; steps near that end are drawn more often, because colours and shapes
are decided there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

from training.autoencoder import LATENT_CHANNELS
from training.runs import fast_arithmetic
from training.scenes import HEIGHTS, Scenes, random_heights
from training.words import Speaker, complete
from training.world import SIZE, is_held_out

PROMPT_LENGTH = 32
WIDTH = 160
LATENT_SIDE = SIZE // 16


class Drawer(nn.Module):
    """The denoiser and the text encoder as one module to train."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.unet = build_unet()
        self.text_encoder = build_text_encoder(tokenizer)


def build_unet() -> UNet2DConditionModel:
    """An untrained denoiser of 8 x 8 x 16 latents."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(96, 160),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=16,
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
    """The noise schedule pictures are trained with and drawn by."""
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


class Latents:
    """The latents of every training combination at several heights, computed once."""

    @torch.no_grad()
    def __init__(self, autoencoder: AutoencoderKL, scenes: Scenes, heights: int) -> None:
        self.heights = np.linspace(0, len(HEIGHTS) - 1, heights).round().astype(int)
        rows = []
        for height in self.heights:
            for part in np.array_split(scenes.allowed, 16):
                batch = scenes.paint(part, np.full(len(part), height))
                with fast_arithmetic():
                    rows.append(autoencoder.encode(batch.pictures).latent_dist.mean.float())
        shape = (heights, len(scenes.allowed), LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE)
        table = torch.cat(rows).view(shape)
        self.scaling = 1 / float(table.std())
        self.table = table * self.scaling

    def pick(self, rng: np.random.Generator, combinations: Sequence[int]) -> Tensor:
        """Scaled latents of combinations by number, each at a likely height."""
        wanted = random_heights(rng, len(combinations))
        nearest = np.abs(wanted[:, None] - self.heights).argmin(axis=1)
        return self.table[torch.from_numpy(nearest), torch.tensor(combinations)]


class DrawerLoss:
    """What the denoiser learns from: noisy latents and wordings of what they show."""

    def __init__(
        self,
        model: Drawer,
        tokenizer: PreTrainedTokenizerFast,
        scenes: Scenes,
        latents: Latents,
        batch: int = 64,
    ) -> None:
        self.model, self.tokenizer, self.latents, self.batch = model, tokenizer, latents, batch
        self.training = scenes.training
        self.numbers = {what: number for number, what in enumerate(self.training)}
        self.scheduler = build_scheduler()

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        prompts, chosen = self._prompts(rng)
        clean = self.latents.pick(rng, chosen)
        noise = torch.randn_like(clean)
        times = torch.from_numpy(1000 * rng.random(self.batch) ** 0.6).long().clamp(0, 999)
        noisy = self.scheduler.add_noise(clean, noise, times)
        ids = self.tokenizer(
            prompts, padding="max_length", max_length=PROMPT_LENGTH, truncation=True,
            return_tensors="pt",
        ).input_ids  # fmt: skip
        with fast_arithmetic():
            words = self.model.text_encoder(ids)[0]
            guess = self.model.unet(noisy, times, words).sample.float()
        return F.mse_loss(guess, self.scheduler.get_velocity(clean, noise, times))

    def _prompts(self, rng: np.random.Generator) -> tuple[list[str], list[int]]:
        """Prompts, one in ten empty, and the numbers of the combinations they stand for."""
        speaker = Speaker(rng)
        prompts, chosen = [], []
        for number in rng.integers(len(self.training), size=self.batch):
            what = self.training[number]
            says_colour, says_ground = rng.random(2) >= (0.05, 0.12)
            meant = complete(what, bool(says_colour), bool(says_ground))
            if is_held_out(meant) or meant.colour == meant.background:
                says_colour, says_ground, meant = True, True, what
            prompt = speaker.prompt(what, bool(says_colour), bool(says_ground))
            prompts.append("" if speaker.chance(0.1) else prompt)
            chosen.append(self.numbers[meant])
        return prompts, chosen
