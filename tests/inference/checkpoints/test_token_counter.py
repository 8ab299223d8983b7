"""Tokens of prompts, as the engines count them, without the engines."""

import json
import threading

import pytest

from bot.models import ModelSpec
from bot.ports import TokenCount
from inference.checkpoints import token_counter
from inference.checkpoints.token_counter import TokenizerFiles

STARTER = ModelSpec(name="starter-image", tasks=("text-to-image",), repo="models/starter-image")
CLIP_COUNTS = {
    "a photo of a cat, 8k, highly detailed; it's 10:30!": 20,
    "日本語 émigré naïve 🙂🙂 ﬁ don't we'll #hash <x> 1234 ___": 29,
    "a</w>b <|endoftext|>": 6,
    "": 0,
}
"""As Transformers' CLIPTokenizer counts."""


@pytest.fixture
def counter():
    return TokenizerFiles()


def write_model(folder, *, encoder="CLIPTextModel", denoiser="unet", length=77, tokenizer=True):
    index = {denoiser: ["diffusers", "X"], "text_encoder": ["transformers", encoder]}
    (folder / "tokenizer").mkdir()
    (folder / "text_encoder").mkdir()
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "text_encoder" / "config.json").write_text(json.dumps({"max_position_embeddings": 77}))
    config = {"model_max_length": length, "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(config))
    if tokenizer:
        words = ["f", "o", "x", "x</w>", "fo", "fox</w>", "<|startoftext|>", "<|endoftext|>"]
        vocabulary = {word: number for number, word in enumerate(words)}
        (folder / "tokenizer" / "vocab.json").write_text(json.dumps(vocabulary))
        (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\nf o\nfo x</w>\n")
    return ModelSpec(name="fox", tasks=("text-to-image",), repo=str(folder))


async def count(counter, model, text):
    return (await counter.count_tokens(model, {"prompt": text}))["prompt"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red fox", TokenCount(tokens=3, limit=30)),
        ("(fox:1.3) <lora:ink:1> BREAK a (red) cat", TokenCount(tokens=4, limit=30, chunks=2)),
        ("fox " * 61, TokenCount(tokens=61, limit=30, chunks=3)),
        ("", TokenCount(tokens=0, limit=30)),
    ],
)
async def test_the_starters_prompts_are_split_into_chunks(counter, text, expected):
    assert await count(counter, STARTER, text) == expected


async def test_a_folder_with_clips_vocabulary_and_merges_is_counted(counter, tmp_path):
    model = write_model(tmp_path)

    assert await count(counter, model, "FOX, fox  fox") == TokenCount(tokens=4, limit=75)


async def test_a_tokenizer_beside_an_image_processor_is_found(counter, tmp_path):
    """Qwen-Image 2.1 has no other."""
    model = write_model(tmp_path, encoder="Qwen3VLForConditionalGeneration", denoiser="transformer")
    (tmp_path / "tokenizer").rename(tmp_path / "processor")

    assert await count(counter, model, "fox fox") == TokenCount(tokens=2, limit=77)


async def test_a_model_that_reads_one_chunk_leaves_the_rest_unread(counter, tmp_path):
    model = write_model(tmp_path, encoder="Qwen3Model", denoiser="transformer", length=4)

    assert await count(counter, model, "(fox:1.2) " * 6) == TokenCount(tokens=6, limit=4, unread=2)


@pytest.mark.parametrize(("text", "tokens"), CLIP_COUNTS.items())
async def test_single_files_use_clips_tokenizer(counter, tmp_path, text, tokens):
    file = tmp_path / "fox.safetensors"
    file.write_bytes(b"")
    model = ModelSpec(name="fox", tasks=("text-to-image",), repo=str(file), capabilities={"family": "sdxl"})

    assert await count(counter, model, text) == TokenCount(tokens=tokens, limit=75, chunks=max(1, -(-tokens // 75)))


async def test_what_has_no_readable_tokenizer_is_unknown(counter, tmp_path, monkeypatch):
    gone = ModelSpec(name="gone", tasks=("text-to-image",), repo=str(tmp_path / "nothing"))
    damaged = write_model(tmp_path, tokenizer=False)

    assert await count(counter, gone, "a fox") is None
    assert await count(counter, damaged, "a fox") is None
    for text in ("{}", "[", '{"model": {"type": "BPE", "vocab": 1}}'):
        (tmp_path / "tokenizer" / "tokenizer.json").write_text(text)
        assert await count(TokenizerFiles(), damaged, "a fox") is None
    monkeypatch.setattr(token_counter, "_MAX_BYTES", 10)
    assert await count(counter, STARTER, "a fox") is None


async def test_nobody_waits_for_a_tokenizer_that_is_read_slowly(counter, monkeypatch):
    gate, load = threading.Event(), token_counter._load
    monkeypatch.setattr(token_counter, "WAIT_S", 0.02)
    monkeypatch.setattr(token_counter, "_load", lambda *arguments: gate.wait() and load(*arguments))

    first = await count(counter, STARTER, "a fox")
    gate.set()
    monkeypatch.setattr(token_counter, "WAIT_S", 10)

    assert (first, await count(counter, STARTER, "a fox")) == (None, TokenCount(tokens=2, limit=30))


async def test_few_tokenizers_are_kept(counter, monkeypatch):
    monkeypatch.setattr(token_counter, "MAX_LOADED", 1)
    for name in ("one", "two"):
        model = ModelSpec(name=name, tasks=STARTER.tasks, repo=STARTER.repo)
        assert await count(counter, model, "a fox") == TokenCount(tokens=2, limit=30)

    assert len(counter._loaded) == 1
