"""What is typed about an input image: `--control`, `--reference`, `--style-of`, `--subject-of` and, in chats, `--mask`.

`--control KIND[:SOURCE][:WEIGHT[:START[:END]]][:ready]`; the others have no kind, and of the numbers the weight only. A
source is a file or a job on the command line and a job in a chat, where none means an attached or replied-to picture.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from bot.commands.input_images import END, START, WEIGHT, check_kind
from bot.errors import InvalidOption
from bot.i18n import N_
from bot.jobs import ImageRef
from bot.options import MAX_LINE, check_bytes, find_flag, skip_quoted

READY = "ready"
JOB_REF = re.compile(r"(?=[a-z2-7/]*[a-z])([a-z2-7]{4,16})(?:/([1-9][0-9]?))?")
"""An id of a job or its beginning, and the number of one of its pictures: `k3x7/2`."""
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|nan|[-+]?inf(?:inity)?", re.IGNORECASE)
_WORD = re.compile(r"\S*")


@dataclass(frozen=True, kw_only=True)
class FlagSpec:
    """`parts`: what follows the source, for help."""

    name: str
    role: str
    kind: str = ""
    help: str = ""
    parts: str = ":WEIGHT"

    @property
    def has_kind(self) -> bool:
        return self.role == "control"


FLAGS = (
    FlagSpec(
        name="control",
        role="control",
        help=N_("A picture that controls the composition: canny, lineart, scribble, depth, pose or tile"),
        parts=":WEIGHT:START:END:ready",
    ),
    FlagSpec(name="reference", role="reference", help=N_("A picture to refer to, as the model itself does")),
    FlagSpec(name="style-of", role="reference", kind="style", help=N_("A picture whose style to take")),
    FlagSpec(name="subject-of", role="reference", kind="subject", help=N_("A picture whose subject to show")),
)
MASK = FlagSpec(name="mask", role="mask", parts="")


@dataclass(frozen=True, kw_only=True)
class ImageFlag:
    """`name`: as it is typed; `source`: empty: an attached or replied-to picture."""

    name: str
    role: str
    kind: str = ""
    source: str = ""
    weight: float = 1.0
    start: float = 0.0
    end: float = 1.0
    ready: bool = False

    def describe(self, image: ImageRef) -> ImageRef:
        """The image with its role and what the flag says. Raises: InvalidOption: it is a map of another kind."""
        if image.ready and self.role == "control":
            if self.kind not in ("", image.kind):
                raise InvalidOption("control", "other_map", value=self.kind, allowed=image.kind)
            return replace(image, role=self.role, weight=self.weight, start=self.start, end=self.end)
        said = {name: getattr(self, name) for name in ("role", "kind", "weight", "start", "end", "ready")}
        return replace(image, **said)


def flags_of(roles: Iterable[str]) -> tuple[FlagSpec, ...]:
    """The flags of a command whose images have these roles."""
    known = set(roles)
    return tuple(flag for flag in FLAGS if flag.role in known)


Split = Callable[[str], tuple[str, str]]
"""Splits a value, without its kind, into a source and the numbers after it."""


def parse_image_flag(flag: FlagSpec, value: str, split: Split) -> ImageFlag:
    """Raises: InvalidOption."""
    kind, rest = flag.kind, value.strip()
    if flag.has_kind and rest:
        kind, _, rest = rest.partition(":")
        kind = check_kind(flag.role, kind.casefold())
    is_ready = flag.has_kind and rest.rpartition(":")[2].casefold() == READY
    source, numbers = split(rest[: -len(READY)].removesuffix(":") if is_ready else rest)
    specs = (WEIGHT, START, END) if flag.has_kind else (WEIGHT,)
    given = numbers.split(":") if numbers else []
    if len(given) > len(specs):
        raise InvalidOption(flag.name, "type", value=value, allowed=f"{_FORM.get(flag.role, '')}{flag.parts}")
    values = {spec.name: spec.parse(one, spec.name) for spec, one in zip(specs, given, strict=False) if one.strip()}
    return ImageFlag(name=flag.name, role=flag.role, kind=kind, source=source, ready=is_ready, **values)


_FORM = {"control": "KIND"}


def split_numbers(value: str, is_source: Callable[[str], bool]) -> tuple[str, str]:
    """The longest source that there is, else all but the numbers at the end: names of files may have colons."""
    parts = value.split(":")
    counts = range(min(4, len(parts)))
    names = [":".join(parts[: len(parts) - count]) for count in counts]
    found = next((count for count in counts if names[count] and is_source(names[count])), None)
    if found is None:
        numeric = [count for count in counts if all(map(_is_number, parts[len(parts) - count :]))]
        found = max(numeric)
    return names[found], ":".join(parts[len(parts) - found :])


def _is_number(text: str) -> bool:
    return _NUMBER.fullmatch(text.strip()) is not None


def split_job(value: str) -> tuple[str, str]:
    """In a chat, a source is a job."""
    first, _, rest = value.partition(":")
    folded = first.casefold()
    return (folded, rest) if JOB_REF.fullmatch(folded) and not _is_number(folded) else ("", value)


def parse_job_ref(source: str) -> tuple[str, int]:
    """The id, or its beginning, and the picture's number; 0: the first one."""
    match = JOB_REF.fullmatch(source)
    return (match.group(1), int(match.group(2) or 0)) if match else (source, 0)


# ---------------------------------------------------------------- typed lines


def pop_image_flags(roles: Iterable[str], line: str, *, more: Sequence[FlagSpec] = ()) -> tuple[str, list[ImageFlag]]:
    """The line without the flags about images, and these in their order. Raises: InvalidOption."""
    check_bytes("text", line, MAX_LINE)
    known: Mapping[str, FlagSpec] = {flag.name: flag for flag in (*flags_of(roles), *more)}
    kept: list[str] = []
    found: list[ImageFlag] = []
    at = looked = 0
    while (typed := find_flag(line, looked)) is not None:
        name, begin, looked = typed
        flag = known.get(name.casefold().replace("_", "-"))
        if flag is None:
            looked = skip_quoted(line, looked)
            continue
        value = _value_at(flag, line, looked)
        kept.append(line[at:begin].strip())
        found.append(parse_image_flag(flag, value, split_job))
        at = looked = looked + len(value)
    kept.append(line[at:].strip() if found else line)
    return " ".join(part for part in kept if part), found


def _value_at(flag: FlagSpec, line: str, at: int) -> str:
    """The next word, if it is no flag; of a flag that needs no value, only a job or a weight."""
    word = _WORD.match(line, at)
    text = word.group() if word is not None else ""
    if flag is MASK or text.startswith(("--", "\u2014", "\u2013")):
        return ""
    if flag.has_kind:
        return text
    first, _, rest = text.partition(":")
    is_value = JOB_REF.fullmatch(first.casefold()) or _is_number(first)
    return text if is_value and (not rest or _is_number(rest)) else ""


def assign_images(
    flags: Sequence[ImageFlag],
    found: Mapping[int, ImageRef],
    pictures: Sequence[ImageRef],
    *,
    needed: int,
    allowed: int,
) -> tuple[ImageRef, ...]:
    """The images of a request: each flag's with what it says, and before them those without a flag.

    Args:
        found: the images of the flags that name a source, by the flag's place.
        pictures: the attached and replied-to ones. The last go to the flags in their order; a single one goes to all.
            One that has a role already goes to the first flag of that role.
        needed: how many must be left without a flag.
        allowed: how many may be; further ones are left out.

    Raises: InvalidOption: there are too few.
    """
    free = [picture for picture in pictures if picture.role not in ("control", "mask")]
    chosen = dict(found) | _take_own_role(flags, found, pictures)
    open_flags = [place for place in range(len(flags)) if place not in chosen]
    if open_flags and len(free) == 1 and not needed:
        chosen |= dict.fromkeys(open_flags, free[0])
        free = []
    elif open_flags:
        given = len(free) - len(open_flags)
        if given < needed:
            raise _too_few(flags[open_flags[0]], len(free), needed + len(open_flags))
        chosen |= dict(zip(open_flags, free[given:], strict=True))
        free = free[:given]
    inits = [ImageRef(one.id, one.role, one.author, one.is_foreign, is_hidden=one.is_hidden) for one in free[:allowed]]
    spare = [
        one for one in pictures if one.role in ("control", "mask") and not any(one is used for used in chosen.values())
    ]
    return (*inits, *spare, *(flag.describe(chosen[place]) for place, flag in enumerate(flags)))


def _take_own_role(
    flags: Sequence[ImageFlag], found: Mapping[int, ImageRef], pictures: Sequence[ImageRef]
) -> dict[int, ImageRef]:
    taken: dict[int, ImageRef] = {}
    for picture in pictures:
        places = (place for place, flag in enumerate(flags) if flag.role == picture.role and place not in found)
        place = next((place for place in places if place not in taken), None)
        if picture.role in ("control", "mask") and place is not None:
            taken[place] = picture
    return taken


def _too_few(flag: ImageFlag, there: int, needed: int) -> InvalidOption:
    if flag.role == "mask":
        return InvalidOption("mask", "mask_missing")
    if not there and needed == 1:
        return InvalidOption("images", "needs_image")
    return InvalidOption(flag.name, "too_few_pictures", value=there, allowed=str(needed))
