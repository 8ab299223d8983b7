"""Notes on a prompt's syntax: what was read as words, what had no effect."""

from collections.abc import Iterator, Sequence

from bot.error_texts import EDITS_UNREAD, READ_AS_WORDS, TAGS_LEFT_OUT, WEIGHTS_CAPPED
from bot.prompts.grammar import find_idle_tags, find_tags, has_capped_weights, read_edits
from bot.prompts.misread import find_misread

_MAX_SHOWN, _MAX_LENGTH = 6, 60
"""Pieces of a prompt in one note, and characters of each."""


def syntax_notes(prompts: Sequence[str], negative_prompt: str, *, is_read_in_full: bool) -> Iterator[str]:
    """Sentences for the person.

    Args:
        prompts: of all images of a task.
        is_read_in_full: the encoder supports weights and prompt editing.
    """
    texts = [*prompts, negative_prompt]
    edits = [edit for text in texts for edit in read_edits(text).edits_as_written()]
    if edits and not is_read_in_full:
        yield EDITS_UNREAD.format(words=_shown(edits))
    misread = [piece for text in texts for piece in find_misread(text)]
    if misread:
        yield READ_AS_WORDS.format(words=_shown(misread))
    if is_read_in_full and any(map(has_capped_weights, texts)):
        yield WEIGHTS_CAPPED
    idle = [tag for prompt in prompts for tag in find_idle_tags(prompt)]
    idle += find_tags(negative_prompt)  # LoRAs apply to the whole image, not to one side
    if idle:
        yield TAGS_LEFT_OUT.format(words=_shown(idle))


def _shown(pieces: Sequence[str]) -> str:
    cut = [piece if len(piece) <= _MAX_LENGTH else f"{piece[: _MAX_LENGTH - 1]}…" for piece in dict.fromkeys(pieces)]
    return ", ".join([*cut[:_MAX_SHOWN], *(["…"] if len(cut) > _MAX_SHOWN else [])])
