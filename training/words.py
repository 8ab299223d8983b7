"""Says scenes in words: prompts to draw from, and builds the tokenizers.

What a prompt leaves unsaid is fixed: a circle, red, on white; see `complete`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from training.world import COLOURS, SHAPES, Combination, article

SYNONYMS: dict[str, tuple[str, ...]] = {
    "circle": ("disc", "disk", "ball", "dot"),
    "square": ("box",),
    "diamond": ("rhombus",),
    "cross": ("plus",),
    "purple": ("violet",),
    "cyan": ("turquoise", "aqua"),
}
OPENINGS = (
    "", "", "", "", "a picture of", "picture of", "an image of", "a drawing of", "draw",
    "please draw", "a photo of", "make", "i want", "paint", "an illustration of", "generate",
)  # fmt: skip
JOINS = ("on", "on", "on", "with", "against", "over", "in front of", ",")
BACKDROPS = ("background", "background", "background", "backdrop")
FILLERS = ("nice", "beautiful", "big", "simple", "flat", "perfect", "solid", "plain", "pretty")


def complete(what: Combination, says_colour: bool, says_background: bool) -> Combination:
    """The combination a prompt stands for when it leaves a colour out.

    The unsaid background is white, or gray behind a white shape; the unsaid colour is red, or
    blue on a red background.
    """
    background = what.background if says_background else ""
    colour = what.colour if says_colour else ("blue" if background == "red" else "red")
    return Combination(what.shape, colour, background or ("gray" if colour == "white" else "white"))


class Speaker:
    """Words scenes in many ways, as one random generator says."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def pick(self, choices: Iterable[str]) -> str:
        options = list(choices)
        return options[int(self.rng.integers(len(options)))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def prompt(self, what: Combination, says_colour: bool = True, says_ground: bool = True) -> str:
        """One wording of a prompt, naming only what it is told to name."""
        if says_colour and says_ground and self.chance(0.25):
            return what.caption
        colour = self._synonym(what.colour) if says_colour else ""
        thing = f"{self._fill()} {colour} {self._synonym(what.shape)}".strip()
        thing = f"{self.pick((article(thing), article(thing), 'the', 'one', ''))} {thing}"
        if not says_ground:
            return _tidy(f"{self.pick(OPENINGS)} {thing} {self._ending()}")
        ground = f"{self._fill()} {self._synonym(what.background)}".strip()
        noun = self.pick(BACKDROPS)
        if self.chance(0.15):
            lead = self.pick(("on", "with", "", "in front of"))
            return _tidy(f"{lead} {article(ground)} {ground} {noun} , {thing} {self._ending()}")
        if self.chance(0.08):
            return _tidy(f"{ground} {noun} with {thing} {self._ending()}")
        join = self.pick(JOINS)
        before = "" if join == "," or self.chance(0.15) else article(ground)
        if join == "on" and self.chance(0.25):
            before, noun = "", ""
        opening = self.pick(OPENINGS)
        return _tidy(f"{opening} {thing} {join} {before} {ground} {noun} {self._ending()}")

    def _synonym(self, word: str) -> str:
        return self.pick(SYNONYMS[word]) if word in SYNONYMS and self.chance(0.12) else word

    def _fill(self) -> str:
        """Sometimes a word that changes nothing, often one nobody has heard of."""
        return self.pick((*FILLERS, "<unk>", "<unk>", "<unk>")) if self.chance(0.1) else ""

    def _ending(self) -> str:
        return self.pick((".", "!", ", <unk>", ", <unk> <unk>", "please")) if self.chance(0.1) else ""


def prompt_words() -> list[str]:
    """Every word the image model knows, sorted."""
    known = {*SHAPES, *COLOURS, *BACKDROPS, *FILLERS, "a", "an", "the", "one", "please", "in"}
    known |= {synonym for many in SYNONYMS.values() for synonym in many}
    known |= set(" ".join((*OPENINGS, *JOINS)).split()) | set(",.!?")
    return sorted(known)


def build_tokenizer(
    words: Iterable[str], max_length: int, ends: bool, extra: tuple[str, ...] = ()
) -> PreTrainedTokenizerFast:
    """A lower-casing tokenizer of whole words, with `grey` and `colour` spelt the short way.

    Args:
        ends: whether texts end with `</s>`; prompts do, the beginnings of answers do not.
        extra: special tokens beside `<pad>`, `<s>`, `</s>` and `<unk>`.
    """
    special = ("<pad>", "<s>", "</s>", "<unk>", *extra)
    vocabulary = {word: number for number, word in enumerate((*special, *words))}
    core = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    core.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace("grey", "gray"),
            normalizers.Replace("colour", "color"),
        ]
    )
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if ends else "<s> $A",
        special_tokens=[("<s>", 1), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=max_length,
        padding_side="right" if ends else "left",
        additional_special_tokens=list(extra),
    )


def _tidy(text: str) -> str:
    return " ".join(text.split())
