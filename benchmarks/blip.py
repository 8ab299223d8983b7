"""BLIP-2 for benchmarks: the starter, and one of the published shape with random weights at a fraction of its depth.

The peer is Transformers' `generate`, one request after another, like servers behind a lock.
"""

import io
import statistics
import tempfile
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

from benchmarks.compute_threads import work_s
from benchmarks.machine import ROOT
from benchmarks.shapes import parameter_millions
from bot.jobs import Media
from bot.memory.weights import EIGHT_BIT, has_torchao
from bot.models import IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING, ModelSpec
from bot.ports import Task, TaskImage
from inference.engine.base import TaskDone
from inference.memory.int8_layers import has_fast_int8
from inference.vision.engine import VisionEngine
from inference.vision.generation_plan import prompt_for
from inference.vision.sequence import generation_arguments

STARTER = ROOT / "models" / "starter-vision"
TASKS = (IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)
SIDE, QUERIES, VOCABULARY, WIDTH = 224, 32, 50_272, 2560
INIT_STD = 0.05
"""Of random weights: large enough that half precision distinguishes images."""
FULL_DEPTH = (39, 12, 32)
"""Layers of vision encoder, Q-Former and language model of `Salesforce/blip2-opt-2.7b`."""


@contextmanager
def open_engine(part: float, threads: int = 1, dtype: str = "float32") -> Iterator[VisionEngine]:
    """An engine with the starter model, or with `part` of the layers of BLIP-2 with OPT-2.7B.

    Args:
        part: 0 for the starter; else a fraction of the layers of the vision encoder and the language model. The
            Q-Former has all of its layers.
        dtype: the number format, or "8bit": float32 with weights in 8 bits.
    """
    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="easel-bench-") as folder:
        path = STARTER
        if part:
            path = Path(folder)
            save_model(path, part)
        quantize = {"dtype": "float32", "quantize": EIGHT_BIT} if dtype == EIGHT_BIT else {"dtype": dtype}
        engine = VisionEngine(ModelSpec(name="bench", tasks=TASKS, repo=str(path), **quantize))  # type: ignore[arg-type]
        engine.load_model("cpu")
        try:
            yield engine
        finally:
            engine.unload_model()
            torch.set_num_threads(threads_before)


@cache
def number_formats() -> tuple[str, ...]:
    """float32, and bfloat16 if it is faster: CPUs without its instructions emulate it, tens of times slower."""

    def seconds(dtype: torch.dtype) -> float:
        inputs, weights = torch.ones(32, WIDTH, dtype=dtype), torch.ones(WIDTH, WIDTH, dtype=dtype)
        return min(work_s(lambda: inputs @ weights, 1) for _ in range(3))

    is_faster = seconds(torch.bfloat16) < seconds(torch.float32)
    return ("float32", "bfloat16") if is_faster else ("float32",)


def answer_formats() -> tuple[str, ...]:
    """Number formats, and weights in 8 bits where the processor multiplies such numbers."""
    has_8bit = has_fast_int8("cpu") and has_torchao()
    return (*number_formats(), EIGHT_BIT) if has_8bit else number_formats()


def formats_not_run() -> dict[str, str]:
    """Why, by format."""
    return {} if "bfloat16" in number_formats() else {"bfloat16": "it is not faster than float32 on this processor"}


def save_model(folder: Path, part: float) -> float:
    """Write the model in the published layout, in bfloat16; returns millions of parameters.

    Source of the shape: the config of Salesforce/blip2-opt-2.7b.
    """
    vision_layers, qformer_layers, language_layers = FULL_DEPTH
    processor = Blip2Processor.from_pretrained(STARTER, backend="pil", local_files_only=True)
    processor.image_processor.size = {"height": SIDE, "width": SIDE}
    processor.num_query_tokens = QUERIES
    torch.manual_seed(0)
    config = Blip2Config(
        vision_config=Blip2VisionConfig(
            num_hidden_layers=max(1, round(part * vision_layers)), initializer_range=INIT_STD
        ).to_dict(),
        qformer_config=Blip2QFormerConfig(num_hidden_layers=qformer_layers, initializer_range=INIT_STD).to_dict(),
        text_config=OPTConfig(
            vocab_size=VOCABULARY,
            hidden_size=WIDTH,
            word_embed_proj_dim=WIDTH,
            ffn_dim=4 * WIDTH,
            num_attention_heads=32,
            num_hidden_layers=max(1, round(part * language_layers)),
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
        model.query_tokens.normal_(std=0.5)  # distinct, like trained ones
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return parameter_millions(model)


def make_request(number: int, question: str, tokens: int, photo: int) -> Task:
    """A question, or a caption for "", with exactly `tokens` tokens."""
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
    out = io.BytesIO()
    image = Image.linear_gradient("L").resize((640, 480)).convert("RGB")
    image.paste(((37 * number) % 256, (91 * number) % 256, (53 * number) % 256), (80, 60, 320, 240))
    image.save(out, "JPEG", quality=90)
    return Media(out.getvalue(), "image/jpeg")


def run_ours(engine: VisionEngine, tasks: Sequence[Task]) -> None:
    """All tasks concurrently."""
    for task in tasks:
        engine.add_task(task)
    done = 0
    while done < len(tasks):
        done += sum(isinstance(event, TaskDone) for event in engine.step())


def run_peer(engine: Any, tasks: Sequence[Task]) -> None:
    """One after another with Transformers alone: the same weights, processor and options."""
    for task in tasks:
        stock_answer(engine, task)


@torch.inference_mode()
def stock_answer(engine: Any, task: Task) -> str:
    image = Image.open(io.BytesIO(task.images[0].media.data)).convert("RGB")
    text = prompt_for(task, engine._model)
    inputs = engine._processor(images=image, text=text, return_tensors="pt")
    inputs = inputs.to(engine._blip.device).to(engine._blip.dtype)
    ids = engine._blip.generate(**inputs, **generation_arguments(task.options, task.options["max_new_tokens"]))
    given = len(inputs["input_ids"][0]) if "input_ids" in inputs else 0  # captions have no prompt
    return str(engine._processor.tokenizer.decode(ids[0][given:], skip_special_tokens=True)).strip()


def compare_medians(measure: Callable[[], tuple[float, float]], repeats: int) -> tuple[float, float]:
    """Medians of ours and the peer's, measured alternately."""
    ours_s, peer_s = zip(*(measure() for _ in range(repeats)), strict=True)
    return statistics.median(ours_s), statistics.median(peer_s)


def model_label(part: float, dtype: str) -> str:
    return f"OPT-2.7B at {part:g} of its depth, {dtype}" if part else "starter"
