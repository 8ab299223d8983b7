"""Random adapters of tiny BLIP-2 models, written by PEFT as a training does."""

import hashlib
import warnings
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import Blip2ForConditionalGeneration

from bot.ports import TaskAdapter

TARGETS = r"language_projection|qformer.*attention.*(query|key|value|output\.dense)|language_model.*(%s)"
PROJECTIONS = {"opt": r"[qkv]_proj|out_proj", "t5": r"\.[qv]"}


def save_adapter(
    data_dir: Path, folder: str | Path, name: str, *, rank=4, alpha=8, std=0.2, seed=0, **settings
) -> TaskAdapter:
    """A random adapter for the model in `folder`, of the model's attention projections, in the data directory."""
    torch.manual_seed(seed)
    blip = Blip2ForConditionalGeneration.from_pretrained(folder)
    settings.setdefault("target_modules", TARGETS % PROJECTIONS[blip.language_model.config.model_type])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT asks Transformers by an old name
        peft = get_peft_model(blip, LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights=False, **settings))
    for parameter in peft.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=std)
    output = data_dir / "adapters" / name
    peft.save_pretrained(str(output))
    return find_adapter(data_dir, name)


def find_adapter(data_dir: Path, name: str) -> TaskAdapter:
    weights = (data_dir / "adapters" / name / "adapter_model.safetensors").read_bytes()
    return TaskAdapter(name, hashlib.sha256(weights).hexdigest())


def load_with_peft(data_dir: Path, folder: str | Path, name: str) -> torch.nn.Module:
    """The model with the adapter, as PEFT itself applies it."""
    blip = Blip2ForConditionalGeneration.from_pretrained(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return PeftModel.from_pretrained(blip, data_dir / "adapters" / name).eval()
