"""Counts tokens with the tokenizers of installed models, in a thread of its own. Imports no torch.

A tokenizer comes with a model: its files are untrusted, their sizes are limited, and nobody waits long for one.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from bot.errors import ModelUnavailable
from bot.model_install.model_headers import DamagedModelFile, read_json_object
from bot.models import ModelSpec
from bot.ports import TokenCount
from bot.prompts.grammar import parse_chunks, plain_text
from inference.checkpoints.resolve import components_path

log = structlog.get_logger()

WAIT_S = 1.0
"""How long a quote waits for its tokens: a large tokenizer is read meanwhile, for the next one."""
MAX_LOADED = 4
MAX_TOKENS = 512
"""Tokenizers without a limit report 10 to the power of 30."""
_MAX_BYTES = 64 * 2**20
_CLIP_LENGTH = 77
_CLIP_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
_CLIP_START, _CLIP_END = "<|startoftext|>", "<|endoftext|>"
_FOLDERS = ("tokenizer", "tokenizer_2", "tokenizer_3", "processor")
_CLIP_ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection")
_CLIP_MERGES = Path(__file__).parents[1] / "diffusion" / "layouts" / "clip-merges.txt"


@dataclass(frozen=True)
class _Tokenizer:
    """`length`: tokens that the model reads in one pass, with those it adds. `is_chunked`: longer texts are split."""

    tokenizer: Any
    length: int
    added: int
    is_chunked: bool

    def count(self, text: str) -> TokenCount:
        limit = max(1, self.length - self.added)
        if not self.is_chunked:
            tokens = self._length_of(plain_text(text))
            return TokenCount(tokens=tokens, limit=limit, unread=max(0, tokens - limit))
        counts = [sum(self._length_of(piece.text) for piece in pieces) for pieces in parse_chunks(text)]
        chunks = sum(max(1, -(-count // limit)) for count in counts)
        return TokenCount(tokens=sum(counts), limit=limit, chunks=chunks)

    def _length_of(self, text: str) -> int:
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)


class TokenizerFiles:
    """Implements `bot.ports.TokenCounter`."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="tokens")
        self._loaded: OrderedDict[tuple[str, ...], _Tokenizer | None] = OrderedDict()

    async def count_tokens(self, model: ModelSpec, texts: Mapping[str, str]) -> Mapping[str, TokenCount | None]:
        loop = asyncio.get_running_loop()
        counting = loop.run_in_executor(self._executor, self._count, model, dict(texts))
        done, _ = await asyncio.wait([counting], timeout=WAIT_S)
        return counting.result() if done else dict.fromkeys(texts)

    def _count(self, model: ModelSpec, texts: Mapping[str, str]) -> dict[str, TokenCount | None]:
        try:
            tokenizer = self._tokenizer_of(model)
            return {name: tokenizer.count(text) if tokenizer is not None else None for name, text in texts.items()}
        except Exception as error:  # the library raises plain exceptions for damaged files
            log.debug("no tokens counted", action="token_count_failed", model=model.name, error=str(error))
            return dict.fromkeys(texts)

    def _tokenizer_of(self, model: ModelSpec) -> _Tokenizer | None:
        family = str(model.capabilities.get("family", ""))
        key = (model.name, model.repo, model.revision, model.file, model.base_model, family)
        if key in self._loaded:
            self._loaded.move_to_end(key)
            return self._loaded[key]
        try:
            tokenizer = _load(components_path(model), str(model.capabilities.get("family") or ""))
        except (ModelUnavailable, DamagedModelFile, OSError):
            return None  # it may be installed later
        self._loaded[key] = tokenizer
        if len(self._loaded) > MAX_LOADED:
            self._loaded.popitem(last=False)
        return tokenizer


def _load(path: Path, family: str) -> _Tokenizer | None:
    """The model's tokenizer; of several, the one that reads most. None: unknown."""
    if path.is_file():
        return _load_single_file(family)
    index = _read_object(path / "model_index.json")
    encoders = [name for name in index if name.startswith("text_encoder")]
    is_clip = bool(encoders) and all(_class_name(index[name]) in _CLIP_ENCODERS for name in encoders)
    folders = [path / name for name in _FOLDERS] if index else [path]
    found = [one for folder in folders if (one := _load_folder(folder, is_chunked="unet" in index and is_clip))]
    return max(found, key=lambda one: one.length, default=None)


def _load_single_file(family: str) -> _Tokenizer | None:
    """Stable Diffusion's files have no tokenizer: all of them use CLIP's."""
    if family not in ("sd15", "sd21", "sdxl"):
        return None
    merges = _CLIP_MERGES.read_text(encoding="utf-8").splitlines()
    pairs = [pair for line in merges if len(pair := tuple(line.split(" "))) == 2 and not line.startswith("#version")]
    return _Tokenizer(_clip_tokenizer(_clip_vocabulary(pairs), pairs), _CLIP_LENGTH, 2, is_chunked=True)


def _load_folder(folder: Path, *, is_chunked: bool) -> _Tokenizer | None:
    tokenizer = _read_tokenizer(folder)
    if tokenizer is None:
        return None
    length = _read_object(folder / "tokenizer_config.json").get("model_max_length")
    encoder = _read_object(folder.with_name(folder.name.replace("tokenizer", "text_encoder")) / "config.json")
    lengths = [length, encoder.get("max_position_embeddings") if is_chunked else None]
    known = [int(one) for one in lengths if isinstance(one, int | float) and one >= 1]
    added = 2 if is_chunked else len(tokenizer.encode("").ids)
    return _Tokenizer(tokenizer, min([MAX_TOKENS, *known]), added, is_chunked)


def _read_tokenizer(folder: Path) -> Any:
    """Of `tokenizers`; None: the folder has no file that it reads."""
    from tokenizers import Tokenizer

    file, vocabulary, merges = folder / "tokenizer.json", folder / "vocab.json", folder / "merges.txt"
    if file.is_file():
        _require_small(file)
        tokenizer = Tokenizer.from_file(str(file))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer
    config = _read_object(folder / "tokenizer_config.json")
    if not vocabulary.is_file() or not merges.is_file() or "CLIP" not in str(config.get("tokenizer_class")):
        return None
    _require_small(merges)
    lines = merges.read_text(encoding="utf-8").splitlines()
    pairs = [pair for line in lines if len(pair := tuple(line.split(" "))) == 2 and not line.startswith("#version")]
    return _clip_tokenizer(read_json_object(vocabulary), pairs)


def _clip_tokenizer(vocabulary: Mapping[str, int], merges: Iterable[tuple[str, ...]]) -> Any:
    """As Transformers builds CLIP's from a vocabulary and merges."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    bpe: Any = models.BPE
    tokenizer = Tokenizer(
        bpe(
            vocab=dict(vocabulary),
            merges=list(merges),
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            unk_token=_CLIP_END,
        )
    )
    tokenizer.add_special_tokens([_CLIP_START, _CLIP_END])
    spaces = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), spaces, normalizers.Lowercase()])
    words = pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    return tokenizer


def _clip_vocabulary(merges: Iterable[tuple[str, ...]]) -> dict[str, int]:
    """The bytes, the bytes that end a word, the merged pairs, and the start and the end of a text."""
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(pair) for pair in merges)]
    return {word: number for number, word in enumerate([*words, _CLIP_START, _CLIP_END])}


def _read_object(path: Path) -> dict[str, Any]:
    """Empty if there is none. Raises: DamagedModelFile."""
    try:
        return read_json_object(path)
    except OSError:
        return {}


def _require_small(path: Path) -> None:
    """Raises: DamagedModelFile."""
    if path.stat().st_size > _MAX_BYTES:
        raise DamagedModelFile("is too large")


def _class_name(entry: object) -> str:
    return str(entry[1]) if isinstance(entry, list) and len(entry) == 2 else ""
