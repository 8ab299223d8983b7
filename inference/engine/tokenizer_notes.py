"""What a model's tokenizers make of a prompt: too long, or words they never met."""

import re
from typing import Any

from bot.error_texts import PROMPT_TOO_LONG, UNKNOWN_WORDS, WEIGHTS_UNREAD
from bot.prompts.grammar import has_weights, words_of

_LONGEST = 512
"""Tokens; tokenizers without a limit of their own say 10 to the 30th."""
_MOST_NAMED = 6
_SMALL = frozenset(
    """
    a an the this that these those some any my your his her our their its i you he she we they me him us them it
    and or of in on at by to for from with into onto as is are be there here please very so just
    """.split()  # noqa: SIM905 - sixty quoted words hide what the list is
)
"""Words that name nothing: whether a model knows them tells a person nothing."""
TOO_LONG = PROMPT_TOO_LONG


def prompt_notes(pipeline: Any, prompt: str, *, is_demo: bool, is_read_whole: bool = False) -> tuple[str, ...]:
    """Sentences for the person. Words are looked up only for demo models, whose vocabulary is a list of words.

    `is_read_whole`: weights and what is beyond the encoder's length count, too.
    """
    words = words_of(prompt)
    tokenizers = [t for name in ("tokenizer", "tokenizer_2", "tokenizer_3") if (t := getattr(pipeline, name, None))]
    notes = []
    if not is_read_whole and tokenizers and all(_is_cut(tokenizer, words) for tokenizer in tokenizers):
        notes.append(TOO_LONG)
    if not is_read_whole and has_weights(prompt):
        notes.append(WEIGHTS_UNREAD)
    if tokenizers:
        notes += question_notes(tokenizers[0], words, is_demo=is_demo)
    return tuple(notes)


def question_notes(tokenizer: Any, question: str, *, is_demo: bool) -> tuple[str, ...]:
    """What a demo model does not know of a text; other models' vocabularies know everything."""
    words = unknown_words(tokenizer, question) if is_demo else []
    return (UNKNOWN_WORDS.format(words=", ".join(words)),) if words else ()


def unknown_words(tokenizer: Any, prompt: str) -> list[str]:
    """The first few words of the prompt that the tokenizer has no token for, each once."""
    unknown = tokenizer.unk_token_id
    if unknown is None or unknown in (tokenizer.eos_token_id, tokenizer.bos_token_id):
        return []  # a byte-level vocabulary knows everything; CLIP's unknown token is its end token
    words: dict[str, str] = {}
    for word in re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", prompt):
        words.setdefault(word.casefold(), word)
    telling = (word for folded, word in words.items() if folded not in _SMALL)
    strange = (word for word in telling if unknown in tokenizer(word, add_special_tokens=False).input_ids)
    return [word for word, _ in zip(strange, range(_MOST_NAMED), strict=False)]


def _is_cut(tokenizer: Any, prompt: str) -> bool:
    limit = min(tokenizer.model_max_length, _LONGEST)
    return len(tokenizer(prompt, truncation=False).input_ids) > limit
