"""The denoiser with its text encoder: what each is, and what they learn from, together.

Noise ends at nothing but noise (zero terminal signal-to-noise), without which flat saturated
backgrounds come out gray; steps near that end are drawn more often, because colours and shapes
are decided there.
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
from training.colours import rgb
from training.draw import JITTER, compose, to_tensor
from training.runs import fast_arithmetic
from training.scenes import COUNTED, PAIRED, SIZED, SPOTTED, SceneChooser
from training.words import Speaker, complete
from training.world import HEIGHTS, SIZE, Placed, for_training, is_held_out, unsaid_background

PROMPT_LENGTH = 32
WIDTH = 192
LATENT_SIDE = SIZE // 16


class Drawer(nn.Module):
    """The denoiser and the text encoder as one module to train."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        super().__init__()
        self.unet = build_unet()
        self.text_encoder = build_text_encoder(tokenizer)


def build_unet() -> UNet2DConditionModel:
    """An untrained denoiser of 8 x 8 x 32 latents; the whole prompt speaks to every layer, beside its words."""
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


OTHER_KINDS = {SIZED: 0.2, SPOTTED: 0.25, COUNTED: 0.2, PAIRED: 0.35}
PLAIN_SHARE = 0.85
SHAPE_SHARE = 0.22
ALL_NOISE = 0.45
"""The share of samples at the very end of the noise, where nothing but the prompt says what to draw."""


class Latents:
    """The latents of every plain training scene at three heights, and of many other scenes, computed once."""

    def __init__(self, autoencoder: AutoencoderKL, others: int, file: Path, every: int = 1) -> None:
        """Take up the table in the file, or make it: of each plain scene, or of every so many."""
        heights = JITTER[HEIGHTS[""]]
        self.plain, chooser = for_training()[::every], SceneChooser(OTHER_KINDS)
        rng = np.random.default_rng(3)
        self.others = [chooser.choose(rng) for _ in range(others)]
        wanted = [[Placed(s.thing, (0.5, 0.5), h)] for h in heights for s in self.plain]
        wanted += [list(scene.layout()) for scene in self.others]
        grounds = [scene.background for scene in (*self.plain * len(heights), *self.others)]
        if not file.exists():
            torch.save(_encode(autoencoder, wanted, grounds), file)
        table = torch.load(file, weights_only=True)
        self.scaling = 1 / float(table.float().std())
        self.table = (table.float() * self.scaling).to(torch.bfloat16)

    def of_plain(self, number: int, rng: np.random.Generator) -> int:
        """The row of a plain scene, at any of its heights."""
        return int(rng.integers(len(JITTER[HEIGHTS[""]]))) * len(self.plain) + number

    def of_other(self, number: int) -> int:
        return len(JITTER[HEIGHTS[""]]) * len(self.plain) + number


@torch.no_grad()
def _encode(autoencoder: AutoencoderKL, layouts: list[list[Placed]], grounds: list[str]) -> Tensor:
    rows = []
    for start in tqdm(range(0, len(layouts), 64), "latents", mininterval=5.0):
        pairs = zip(layouts[start : start + 64], grounds[start : start + 64], strict=True)
        pictures = to_tensor([compose(layout, rgb(ground)) for layout, ground in pairs])
        with fast_arithmetic():
            rows.append(autoencoder.encode(pictures).latent_dist.mean.bfloat16())
    return torch.cat(rows)


class DrawerLoss:
    """What the denoiser learns from: noisy latents and wordings of what they show."""

    def __init__(self, model: Drawer, tokenizer: PreTrainedTokenizerFast, latents: Latents, batch: int = 128) -> None:
        self.model, self.tokenizer, self.latents, self.batch = model, tokenizer, latents, batch
        self.numbers = {scene: number for number, scene in enumerate(latents.plain)}
        shapes = [n for n, scene in enumerate(latents.plain) if scene.thing.colour]
        objects = [n for n, scene in enumerate(latents.plain) if not scene.thing.colour]
        self.pools = (np.array(objects), np.array(shapes))
        self.scheduler = build_scheduler()

    def __call__(self, step: int, rng: np.random.Generator) -> Tensor:
        prompts, rows = self._prompts(rng)
        clean = self.latents.table[rows].float()
        noise = torch.randn_like(clean)
        times = 1000 * rng.random(self.batch) ** 0.6
        times[rng.random(self.batch) < ALL_NOISE] = 999
        steps = torch.from_numpy(times).long().clamp(0, 999)
        noisy = self.scheduler.add_noise(clean, noise, steps)
        ids = self.tokenizer(
            prompts, padding="max_length", max_length=PROMPT_LENGTH, truncation=True,
            return_tensors="pt",
        ).input_ids  # fmt: skip
        with fast_arithmetic():
            words = self.model.text_encoder(ids)[0]
            guess = self.model.unet(noisy, steps, words).sample.float()
        return F.mse_loss(guess, self.scheduler.get_velocity(clean, noise, steps))

    def _prompts(self, rng: np.random.Generator) -> tuple[list[str], list[int]]:
        """Prompts, one in ten empty, and the rows of the latents they stand for."""
        speaker = Speaker(rng)
        prompts, rows = [], []
        for _ in range(self.batch):
            is_plain = not self.latents.others or speaker.chance(PLAIN_SHARE)
            prompt, row = self._plain(speaker) if is_plain else self._other(speaker)
            prompts.append("" if speaker.chance(0.1) else prompt)
            rows.append(row)
        return prompts, rows

    def _plain(self, speaker: Speaker) -> tuple[str, int]:
        pool = self.pools[speaker.chance(SHAPE_SHARE)]
        scene = self.latents.plain[int(pool[int(speaker.rng.integers(len(pool)))])]
        says_colour, says_ground = not speaker.chance(0.05), not speaker.chance(0.12)
        meant = complete(scene, says_colour, says_ground)
        if is_held_out(meant) or meant not in self.numbers:
            says_colour, says_ground, meant = True, True, scene
        prompt = speaker.prompt(scene, says_colour, says_ground)
        return prompt, self.latents.of_plain(self.numbers[meant], speaker.rng)

    def _other(self, speaker: Speaker) -> tuple[str, int]:
        number = int(speaker.rng.integers(len(self.latents.others)))
        scene = self.latents.others[number]
        is_usual = scene.background == unsaid_background(scene.thing)
        return speaker.prompt(scene, says_ground=not (is_usual and speaker.chance(0.7))), self.latents.of_other(number)
