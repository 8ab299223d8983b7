"""Describes scenes in words: prompts for the image model; and builds the tokenizers.

What a prompt omits has a fixed default: one thing of the usual size in the middle, a red shape, a white background; see
`complete_scene`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from training.colours import COLOURS
from training.objects import OBJECTS, PLURAL, plural
from training.shapes import SHAPES
from training.world import COUNTS, Scene, Thing, article, default_background

SYNONYMS: dict[str, tuple[str, ...]] = {
    "circle": ("disc", "disk", "ball", "dot"),
    "square": ("box",),
    "diamond": ("rhombus",),
    "cross": ("plus",),
    "purple": ("violet",),
    "cyan": ("turquoise", "aqua"),
    "small": ("tiny", "little"),
    "big": ("large", "huge", "giant"),
    "two": ("2", "a pair of"),
    "three": ("3",),
    **{name: entry.synonyms for name, entry in OBJECTS.items() if entry.synonyms},
}
OPENINGS = (
    "", "", "", "", "", "a picture of", "picture of", "an image of", "a drawing of", "draw", "draw me",
    "please draw", "a photo of", "make", "make me", "i want", "paint", "an illustration of", "generate",
    "show me", "create", "can you draw", "an emoji of",
)  # fmt: skip
JOINS = ("on", "on", "on", "with", "against", "over", "in front of", ",")
BACKDROPS = ("background", "background", "background", "backdrop")
PLACES: dict[str, tuple[str, ...]] = {
    "centre": ("in the middle", "in the center"),
    "left": ("on the left", "on the left side", "to the left", "at the left"),
    "right": ("on the right", "on the right side", "to the right", "at the right"),
    "top": ("at the top", "on top", "in the upper half"),
    "bottom": ("at the bottom", "on the bottom", "in the lower half"),
    "top left": ("in the top left", "in the top left corner", "in the upper left corner", "at the top left"),
    "top right": ("in the top right", "in the top right corner", "in the upper right corner", "at the top right"),
    "bottom left": ("in the bottom left", "in the bottom left corner", "in the lower left corner"),
    "bottom right": ("in the bottom right", "in the bottom right corner", "in the lower right corner"),
}
PAIRS = (
    "{a} and {b}", "{a} and {b}", "{a} and {b}", "{a} next to {b}", "{a} beside {b}", "{a} and {b} side by side",
    "{a} to the left of {b}", "{a} left of {b}", "{b} to the right of {a}", "{b} right of {a}",
    "{a} on the left and {b} on the right", "{a} , {b}",
)  # fmt: skip
NEUTRAL_WORDS = (
    "nice", "beautiful", "simple", "flat", "perfect", "solid", "plain", "pretty", "cute", "very", "really", "my",
    "your", "this", "that", "it", "is", "for", "at", "in", "of", "please", "me", "you", "some", "just", "style",
    "art", "detailed", "realistic", "cartoon", "funny", "good", "best", "quality", "high", "new", "old", "happy",
    "drawn", "looking", "standing", "sitting", "from", "by", "as", "like", "be", "there", "here", "its", "his", "her",
    "shape", "colored", "single", "bright", "lovely", "cool", "clean", "minimal", "logo", "icon", "sticker", "clipart",
)  # fmt: skip
"""Known words without an effect."""
UNKNOWN_WORD = "<unk>"
SPECIAL_TOKENS = ("<pad>", "<s>", "</s>", "<unk>")


def complete_scene(scene: Scene, says_colour: bool, says_background: bool) -> Scene:
    """The scene that a prompt means when it omits a colour.

    The default background is white, or gray where white hides the thing; the default colour of a shape is red, or blue
    on a red background.
    """
    things, background = scene.things, scene.background if says_background else ""
    if not says_colour:
        things = tuple(
            Thing(thing.name, ("blue" if background == "red" else "red") if thing.colour else "") for thing in things
        )
    return replace(scene, things=things, background=background or default_background(things[0]))


class PromptWriter:
    """Samples prompts for scenes, in many wordings."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def pick(self, choices: Iterable[str]) -> str:
        options = list(choices)
        return options[int(self.rng.integers(len(options)))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def write_prompt(self, scene: Scene, says_colour: bool = True, says_background: bool = True) -> str:
        """One wording of a prompt that names only the requested colours."""
        if says_colour and says_background and self.chance(0.25):
            return scene.caption
        thing = self._subject(scene, says_colour)
        place = self._place(scene)
        if not says_background:
            return self._finish_prompt(f"{self.pick(OPENINGS)} {thing} {place}")
        background = f"{self._filler()} {self._synonym(scene.background)}".strip()
        noun = self.pick(BACKDROPS)
        if self.chance(0.15):
            lead = self.pick(("on", "with", "", "in front of"))
            return self._finish_prompt(f"{lead} {article(background)} {background} {noun} , {thing} {place}")
        if self.chance(0.08):
            return self._finish_prompt(f"{background} {noun} with {thing} {place}")
        if place and self.chance(0.2):
            return self._finish_prompt(f"{thing} {place} of {article(background)} {background} {noun}")
        join = self.pick(JOINS)
        before = "" if join == "," or self.chance(0.15) else article(background)
        if join == "on" and self.chance(0.25):
            before, noun = "", ""
        return self._finish_prompt(f"{self.pick(OPENINGS)} {thing} {place} {join} {before} {background} {noun}")

    def _subject(self, scene: Scene, says_colour: bool) -> str:
        if scene.is_pair:
            first, second = (self._thing_phrase(thing, says_colour) for thing in scene.things)
            return self.pick(PAIRS).format(a=first, b=second)
        if len(scene.things) > 1:
            number = self._synonym(COUNTS[len(scene.things) - 1])
            return f"{number} {self._filler()} {self._noun(scene.thing, says_colour, many=True)}"
        return self._thing_phrase(scene.thing, says_colour, scene.size)

    def _thing_phrase(self, thing: Thing, says_colour: bool, size: str = "") -> str:
        size = self._synonym(size) if size else ""
        words = f"{size} {self._filler()} {self._noun(thing, says_colour)}".strip()
        if thing.name in PLURAL:
            return self.pick((words, words, f"some {words}"))
        return f"{self.pick((article(words), article(words), article(words), 'the', 'one', ''))} {words}"

    def _noun(self, thing: Thing, says_colour: bool, many: bool = False) -> str:
        """With its colour, if requested; objects sometimes get a colour, which has no effect."""
        colour = thing.colour if thing.colour and says_colour else ""
        if not thing.colour and self.chance(0.03):
            colour = self.pick(COLOURS)
        name = self._synonym(thing.name)
        return f"{self._synonym(colour)} {plural(name) if many else name}".strip()

    def _place(self, scene: Scene) -> str:
        if scene.spot == "centre" and not (scene.is_plain and self.chance(0.04)):
            return ""
        return self.pick(PLACES[scene.spot])

    def _synonym(self, word: str) -> str:
        return self.pick(SYNONYMS[word]) if word in SYNONYMS and self.chance(0.15) else word

    def _filler(self) -> str:
        """Sometimes a word without an effect, usually an unknown one."""
        return self.pick((*NEUTRAL_WORDS[:12], UNKNOWN_WORD, UNKNOWN_WORD, UNKNOWN_WORD)) if self.chance(0.08) else ""

    def _finish_prompt(self, text: str) -> str:
        """Normalise spaces; sometimes insert neutral words and add an ending."""
        words = text.split()
        if self.chance(0.12):
            for _ in range(int(self.rng.integers(1, 4))):
                words.insert(int(self.rng.integers(len(words) + 1)), self.pick((*NEUTRAL_WORDS, *(UNKNOWN_WORD,) * 12)))
        if self.chance(0.1):
            words.append(self.pick((".", "!", ", <unk>", ", <unk> <unk>", "please", "in the <unk>", "at <unk>")))
        return " ".join(words)


def prompt_words() -> list[str]:
    """The vocabulary of the image model, sorted."""
    nouns = {*SHAPES, *OBJECTS}
    nouns |= {synonym for name in nouns for synonym in SYNONYMS.get(name, ())}
    known = {*nouns, *(plural(noun) for noun in nouns), *COLOURS, *BACKDROPS, *NEUTRAL_WORDS, *SYNONYMS}
    phrases = [*OPENINGS, *JOINS, *(way for ways in PLACES.values() for way in ways)]
    phrases += [way for ways in SYNONYMS.values() for way in ways]
    phrases += [pair.format(a="a", b="an") for pair in PAIRS]
    known |= set(" ".join(phrases).split()) | set(",.!?") | {"a", "an", "the", "one", "some", "are", "to", "with"}
    return sorted(known)


def build_tokenizer(
    words: Iterable[str],
    max_length: int,
    adds_eos: bool,
    extra: tuple[str, ...] = (),
    special: tuple[str, ...] = SPECIAL_TOKENS,
) -> PreTrainedTokenizerFast:
    """A lower-casing word-level tokenizer that normalises `grey`, `colour` and `centre`.

    Args:
        adds_eos: whether texts end with `</s>`; prompts do, the beginnings of answers do not.
        extra: special tokens besides `<pad>`, `<s>`, `</s>` and `<unk>`.
        special: those four, in the order of their numbers.
    """
    vocabulary = {word: number for number, word in enumerate((*special, *extra, *words))}
    core = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    core.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace("grey", "gray"),
            normalizers.Replace("colour", "color"),
            normalizers.Replace("centre", "center"),
        ]
    )
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if adds_eos else "<s> $A",
        special_tokens=[(token, vocabulary[token]) for token in ("<s>", "</s>")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=max_length,
        padding_side="right" if adds_eos else "left",
        additional_special_tokens=list(extra),
    )
