"""BLIP-2 for benchmarks: the starter, and one of the published shape with random weights at a part of its depth.

The peer is the library's `generate`, one request after another, as servers behind a lock do it.
"""

import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    OPTConfig,
)

from benchmarks.machine import ROOT
from benchmarks.shapes import millions
from bot.jobs import Media
from bot.models import IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING, ModelSpec
from bot.ports import Task, TaskImage
from inference.engine.base import Over
from inference.vision.engine import VisionEngine
from inference.vision.generation_plan import prompt_of
from inference.vision.sequence import generation

STARTER = ROOT / "models" / "starter-vision"
TASKS = (IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)
SIDE, QUERIES, WORDS, WIDTH = 224, 32, 50_272, 2560
SPREAD = 0.05
"""Of random weights: wide enough that half precision tells pictures apart."""
FULL_DEPTH = (39, 12, 32)
"""Layers of tower, Q-Former and language model of `Salesforce/blip2-opt-2.7b`."""


@contextmanager
def open_engine(part: float) -> Iterator[VisionEngine]:
    """The starter for 0; else OPT-2.7B's shape with `part` of its layers (all of the Q-Former's) in `shape_format`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        path, dtype = STARTER, "float32"
        if part:
            path, dtype = Path(folder), shape_format()
            save_shape(path, part)
        engine = VisionEngine(ModelSpec(name="bench", tasks=TASKS, repo=str(path), dtype=dtype))
        engine.load("cpu")
        try:
            yield engine
        finally:
            engine.unload()
            torch.set_num_threads(threads)


@cache
def shape_format() -> str:
    """bfloat16, or float32 where that is the quicker: processors without instructions for the other imitate it, tens of
    times as slow."""

    def seconds(dtype: torch.dtype) -> float:
        words, weights = torch.ones(32, WIDTH, dtype=dtype), torch.ones(WIDTH, WIDTH, dtype=dtype)
        return min(cpu_s(lambda: words @ weights) for _ in range(3))

    return "bfloat16" if seconds(torch.bfloat16) < seconds(torch.float32) else "float32"


def save_shape(folder: Path, part: float) -> float:
    """In the published layout and in bfloat16, as the loader expects it; millions of parameters.

    Source of the shape: the config of Salesforce/blip2-opt-2.7b.
    """
    tower, bridge, language = FULL_DEPTH
    processor = Blip2Processor.from_pretrained(STARTER, backend="pil", local_files_only=True)
    processor.image_processor.size = {"height": SIDE, "width": SIDE}
    processor.num_query_tokens = QUERIES
    torch.manual_seed(0)
    config = Blip2Config(
        vision_config=Blip2VisionConfig(
            num_hidden_layers=max(1, round(part * tower)), initializer_range=SPREAD
        ).to_dict(),
        qformer_config=Blip2QFormerConfig(num_hidden_layers=bridge, initializer_range=SPREAD).to_dict(),
        text_config=OPTConfig(
            vocab_size=WORDS,
            hidden_size=WIDTH,
            word_embed_proj_dim=WIDTH,
            ffn_dim=4 * WIDTH,
            num_attention_heads=32,
            num_hidden_layers=max(1, round(part * language)),
            **{name: getattr(processor.tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")},
        ).to_dict(),
        num_query_tokens=QUERIES,
        image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"),
    )
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        model = Blip2ForConditionalGeneration(config)
    finally:
        torch.set_default_dtype(default)
    with torch.no_grad():
        model.query_tokens.normal_(std=0.5)  # as trained ones, different from one another
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return millions(model)


def request(number: int, question: str, tokens: int, photo: int) -> Task:
    """A question, or a caption for "", of exactly so many tokens."""
    options = {"min_new_tokens": tokens, "max_new_tokens": tokens, "num_beams": 1, "temperature": 0.0, "seed": 0}
    return Task(
        id=f"job-{number}",
        command="ask" if question else "caption",
        task=VISUAL_QUESTION_ANSWERING if question else IMAGE_TO_TEXT,
        model=ModelSpec(name="bench", tasks=TASKS, repo=""),
        options=options | ({"question": question} if question else {}),
        images=(TaskImage("init", _photo(photo)),),
    )


def _photo(number: int) -> Media:
    made = io.BytesIO()
    picture = Image.linear_gradient("L").resize((640, 480)).convert("RGB")
    picture.paste(((37 * number) % 256, (91 * number) % 256, (53 * number) % 256), (80, 60, 320, 240))
    picture.save(made, "JPEG", quality=90)
    return Media(made.getvalue(), "image/jpeg")


def ours(engine: VisionEngine, tasks: Sequence[Task]) -> None:
    """All of them at the same time."""
    for task in tasks:
        engine.admit(task)
    over = 0
    while over < len(tasks):
        over += sum(isinstance(event, Over) for event in engine.step())


@torch.inference_mode()
def peer(engine: Any, tasks: Sequence[Task]) -> None:
    """One after another with the library alone: the same weights, processor and options."""
    for task in tasks:
        image = Image.open(io.BytesIO(task.images[0].media.data)).convert("RGB")
        text = prompt_of(task, engine._model)
        inputs = engine._processor(images=image, text=text, return_tensors="pt").to(engine._blip.dtype)
        ids = engine._blip.generate(**inputs, **generation(task.options, task.options["max_new_tokens"]))
        engine._processor.tokenizer.decode(ids[0], skip_special_tokens=True)


def cpu_s(work: Callable[[], None]) -> float:
    """Processor seconds of one thread: a busy machine changes them less than it does the clock."""
    began = time.process_time()
    work()
    return time.process_time() - began


def compared(measure: Callable[[], tuple[float, float]], repeats: int) -> tuple[float, float]:
    """Medians of ours and the peer's, in turns."""
    mine, theirs = zip(*(measure() for _ in range(repeats)), strict=True)
    return statistics.median(mine), statistics.median(theirs)


def called(part: float) -> str:
    return f"OPT-2.7B at {part:g} of its depth, {shape_format()}" if part else "starter"
