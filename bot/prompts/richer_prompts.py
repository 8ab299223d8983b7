"""What a model is asked that makes a prompt richer, and how its answer is read. Pure.

Nothing is sampled, so the same prompt always becomes the same text, and each picture of a job is what its seed alone
gives.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from bot.commands.prompt_enhancing import MAX_ENHANCED_TOKENS, UNENHANCED
from bot.models import ModelSpec
from bot.options import MAX_PROMPT, clean_text
from bot.prompts.grammar import find_tags, parse_chunks, prompt_at, read_edits

INSTRUCTION = (
    "Rewrite this prompt for an image generator. Keep everything that it asks for, and add fitting details: the "
    "composition, the surroundings, the light, the colours, the materials and the style, in at most 80 words. Answer "
    "with the new prompt alone, in the language of the prompt, without an introduction.\nPrompt: {prompt}"
)
_SYNTAX = re.compile(r"[()\[\]{}<>|\\*_`#]+")
_BRACKETS = re.compile(r"[()\[\]\\:|]")
_COMMAS = re.compile(r"(?:\s*,\s*){2,}")
_WRAPPING = " \"'\u201c\u201d\u2018\u2019\u00ab\u00bb"
_LABEL = re.compile(r"^\W*(?:(?:the|an?|new|enhanced|enriched|rewritten|improved|final|image)\s+)*prompt\s*:\s*", re.I)


def enhancing_options(prompt: str, model: ModelSpec) -> Mapping[str, Any]:
    """Of the task that answers with the richer prompt."""
    words = wanted_words(prompt)
    return {
        "prompt": words,
        "question": INSTRUCTION.format(prompt=words),
        "num_beams": 1,
        "temperature": 0.0,
        "top_p": 1.0,
        "min_new_tokens": 0,
        "max_new_tokens": MAX_ENHANCED_TOKENS,
        "seed": 0,
        "model": model.name,
    }


def wanted_words(prompt: str) -> str:
    """Without syntax, and without what a weight of 0 or less moves away from."""
    chunks = parse_chunks(read_edits(prompt).text_of_all_choices())
    texts = ("".join(piece.text for piece in pieces if piece.weight > 0).strip() for pieces in chunks)
    return clean_text(_COMMAS.sub(", ", " ".join(filter(None, texts)))).strip(", ")


def read_enhanced(answer: str, prompt: str, names: Sequence[str] = ()) -> str:
    """The answer of a model as a prompt: words without syntax, then the tags of the prompt that it is made from and
    its words with negative weights. `names`: of textual inversions in the prompt, which stay too.

    "": it has no words, or says no more than the prompt.
    """
    words = clean_text(_SYNTAX.sub(" ", _LABEL.sub("", clean_text(answer).strip(_WRAPPING)))).strip(_WRAPPING)
    words = words.replace("BREAK", "break")
    lost = (name for name in names if name.casefold() not in words.casefold())
    kept = " ".join(dict.fromkeys([*lost, *_unwanted(prompt), *find_tags(prompt)]))
    room = max(0, MAX_PROMPT - len(kept) - 1)
    if len(words) > room:
        words = words[:room].rpartition(" ")[0] or words[:room]
    if not any(char.isalnum() for char in words) or words.casefold() == wanted_words(prompt).casefold():
        return ""
    return f"{words} {kept}".strip()


def _unwanted(prompt: str) -> list[str]:
    chunks = parse_chunks(read_edits(prompt).text_of_all_choices())
    pieces = (piece for pieces in chunks for piece in pieces if piece.weight < 0 and piece.text.strip())
    return [f"({_escape_syntax(piece.text.strip())}:{piece.weight:g})" for piece in pieces]


def _escape_syntax(words: str) -> str:
    return _BRACKETS.sub(r"\\\g<0>", words)


def own_prompt_at(options: Mapping[str, Any], index: int) -> str:
    """The prompt of image `index` as it was before a model made it richer."""
    return prompt_at(options.get(UNENHANCED, options), index)
