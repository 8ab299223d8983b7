"""The input images of a request: how many there may be of each role, and what may be said about one.

What an engine can do with them depends on the model, and is checked when the model is chosen.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bot.errors import InvalidOption
from bot.i18n import N_
from bot.jobs import ImageRef
from bot.models import CONTROL_KINDS, REFERENCE_KINDS
from bot.options import OptionSpec, find_nearest

MAX_CONTROLS = 3
MAX_REFERENCES = 4
WEIGHT = OptionSpec(
    name="weight", kind=float, help=N_("How much it counts"), minimum=0, maximum=2, default=1.0, is_advanced=True
)
START = OptionSpec(
    name="start", kind=float, help=N_("From which share of the steps"), minimum=0, maximum=1, default=0.0
)
END = OptionSpec(name="end", kind=float, help=N_("Until which share of the steps"), minimum=0, maximum=1, default=1.0)
KINDS: Mapping[str, tuple[str, ...]] = {"control": CONTROL_KINDS, "reference": REFERENCE_KINDS}
"""By role; images of other roles have no kind."""
_TOO_MANY = {"control": "too_many_controls", "reference": "too_many_references"}
_UNSAID = ImageRef("")


@dataclass(frozen=True, kw_only=True)
class ImageLimits:
    """`further`: roles of images that do not count as pictures, with the number allowed of each."""

    roles: tuple[str, ...]
    needed: int
    allowed: int
    further: Mapping[str, int] = field(default_factory=dict)


def check_images(images: Sequence[ImageRef], limits: ImageLimits) -> tuple[ImageRef, ...]:
    """Raises: InvalidOption."""
    if images and not limits.roles:
        raise InvalidOption("images", "no_images", value=len(images))
    checked = tuple(_check_image(image, limits.roles) for image in images)
    counts = Counter(image.role for image in checked)
    pictures = sum(count for role, count in counts.items() if role not in limits.further)
    if pictures < limits.needed:
        is_one = limits.needed == 1
        raise InvalidOption("images", "needs_image" if is_one else "needs_images", allowed=str(limits.needed))
    _check_count("images", pictures, limits.allowed)
    for role, most in limits.further.items():
        _check_count("images" if role == "mask" else role, counts[role], most)
    if counts["mask"] and not pictures:
        raise InvalidOption("mask", "needs_init")
    _check_kinds_differ([image.kind for image in checked if image.role == "control"])
    return checked


def _check_count(role: str, count: int, most: int) -> None:
    if count <= most:
        return
    if not most:
        raise InvalidOption("images", "no_images", value=count)
    raise InvalidOption(role, _TOO_MANY.get(role, "too_many_images"), value=count, allowed=str(most))


def _check_kinds_differ(kinds: Sequence[str]) -> None:
    for kind, count in Counter(kinds).items():
        if count > 1:
            raise InvalidOption(kind, "twice")


def _check_image(image: ImageRef, roles: Sequence[str]) -> ImageRef:
    if image.role not in roles:
        raise InvalidOption("role", "choice", value=image.role, allowed=", ".join(roles))
    unused = {"control": (), "reference": ("start", "end", "ready")}.get(
        image.role, ("kind", "weight", "start", "end", "ready")
    )
    for name in unused:
        if getattr(image, name) != getattr(_UNSAID, name):
            raise InvalidOption(name, "role_lacks", value=image.role)
    if image.kind or image.role == "control":
        check_kind(image.role, image.kind)
    for spec in (WEIGHT, START, END):
        spec.parse(getattr(image, spec.name), spec.name)
    if image.start >= image.end:
        raise InvalidOption("start", "start_after_end", value=round(image.start, 4), allowed=f"{image.end:g}")
    return image


def check_kind(role: str, kind: str) -> str:
    """Raises: InvalidOption: there is no such kind of control or reference, or none was named."""
    known = KINDS[role]
    if kind in known:
        return kind
    allowed = ", ".join(known)
    if not kind:
        raise InvalidOption(role, "control_kind", allowed=allowed)
    near = find_nearest(kind, known)
    raise InvalidOption("kind", "choice", value=kind, allowed=allowed, nearest=near[0] if near else "")
