"""Notes on a prompt from a model's tokenizers: that it is too long, or which of its words are unknown."""

import re
from collections.abc import Collection, Sequence
from itertools import islice
from typing import Any

from bot.error_texts import PROMPT_TOO_LONG, UNKNOWN_WORDS, WEIGHTS_UNREAD
from bot.prompts.grammar import has_weights, plain_text

_MAX_TOKENS = 512
"""Tokenizers without a limit report 10 to the power of 30."""
_MAX_WORDS = 6
_STOPWORDS = frozenset(
    """
    a an the this that these those some any my your his her our their its i you he she we they me him us them it
    and or of in on at by to for from with into onto as is are be there here please very so just
    """.split()  # noqa: SIM905 - sixty quoted words would hide what the list is
)
"""Words without content: not worth a note when a model does not know them."""


def prompt_notes(
    pipeline: Any,
    prompts: Sequence[str],
    *,
    is_demo: bool,
    is_read_in_full: bool = False,
    trigger_words: Collection[str] = (),
) -> tuple[str, ...]:
    """Sentences for the person. Words are looked up only for demo models, whose vocabulary is a list of words.

    Args:
        prompts: of all images of a task.
        is_read_in_full: the encoder supports prompt weights and prompts beyond its length.
        trigger_words: of the prompt's inversions, which the model knows beside its vocabulary.
    """
    words = [plain_text(prompt) for prompt in prompts]
    tokenizers = [t for name in ("tokenizer", "tokenizer_2", "tokenizer_3") if (t := getattr(pipeline, name, None))]
    notes = []
    if not is_read_in_full and any(_is_truncated(tokenizers, text) for text in words):
        notes.append(PROMPT_TOO_LONG)
    if not is_read_in_full and any(map(has_weights, prompts)):
        notes.append(WEIGHTS_UNREAD)
    if tokenizers:
        notes += question_notes(tokenizers[0], _without_triggers(" ".join(words), trigger_words), is_demo=is_demo)
    return tuple(notes)


_AFTER_LATIN = "\u0250"
"""The first character behind the Latin blocks."""


def question_notes(tokenizer: Any, question: str, *, is_demo: bool) -> tuple[str, ...]:
    """The words that a demo model does not know; the vocabularies of other models are complete."""
    words = unknown_words(tokenizer, question) if is_demo else []
    return (UNKNOWN_WORDS.format(words=", ".join(words)),) if words else ()


def unknown_words(tokenizer: Any, prompt: str) -> list[str]:
    """The first few distinct words of the prompt for which the tokenizer has no token."""
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown in (tokenizer.eos_token_id, tokenizer.bos_token_id):
        return []  # a byte-level vocabulary has no unknown words; CLIP's unknown token is its end token
    words: dict[str, str] = {}
    for word in re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", prompt):
        words.setdefault(word.casefold(), word)
    candidates = (word for folded, word in words.items() if folded not in _STOPWORDS)
    unknown_ones = (word for word in candidates if unknown in tokenizer(word, add_special_tokens=False).input_ids)
    return list(islice(unknown_ones, _MAX_WORDS))


def knows_words(tokenizer: Any, text: str) -> bool:
    """Whether a model for English knows at least one word of the text that means something.

    A large vocabulary has tokens for the characters of many scripts, whose words it still does not know.
    """
    letters = [letter for letter in text if letter.isalpha()]
    if 2 * sum(letter < _AFTER_LATIN for letter in letters) < len(letters):
        return False
    words = re.findall(r"[^\W_]+", text)
    unknown = tokenizer.unk_token_id
    meant = [word for word in words if word.casefold() not in _STOPWORDS] or words
    return any(unknown not in tokenizer(word, add_special_tokens=False).input_ids for word in meant)


def _without_triggers(text: str, trigger_words: Collection[str]) -> str:
    longest_first = "|".join(re.escape(word) for word in sorted(trigger_words, key=len, reverse=True))
    if not trigger_words:
        return text
    spelled = rf"(?<![\w-])(?:embedding:)?(?:{longest_first})(?:['’]s)?(?![\w-])"
    return re.sub(spelled, " ", text, flags=re.IGNORECASE)


def _is_truncated(tokenizers: Sequence[Any], prompt: str) -> bool:
    """Whether the prompt is too long for all of them."""
    lengths = [len(tokenizer(prompt, truncation=False).input_ids) for tokenizer in tokenizers]
    limits = [min(tokenizer.model_max_length, _MAX_TOKENS) for tokenizer in tokenizers]
    return bool(lengths) and all(length > limit for length, limit in zip(lengths, limits, strict=True))
