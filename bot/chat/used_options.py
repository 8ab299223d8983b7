"""One short line about what a picture was made with beside its prompt, size and model."""

from collections.abc import Iterator, Mapping
from typing import Any

from bot.i18n import N_, Translate
from bot.jobs import ImageRef, Job
from bot.options import clean_text

_CONTROL, _REFERENCE = N_("control {kind}"), N_("reference {kind}")


def format_used(job: Job, translate: Translate) -> str:
    """Empty if there is nothing to say."""
    parts = [*_used_options(job.options, translate), *(_used_image(image, translate) for image in job.images)]
    return ", ".join(filter(None, parts))


def _used_options(options: Mapping[str, Any], translate: Translate) -> Iterator[str]:
    if options.get("region"):
        part = N_("all but {part}") if options.get("keep") else N_("part: {part}")
        yield translate(part).format(part=clean_text(str(options["region"])))
    if options.get("detail"):
        yield translate("details: {parts}").format(parts=clean_text(str(options["detail"])))
    if options.get("best"):
        yield translate("best of {count}").format(count=options["best"])
    if options.get("hires"):
        yield translate("hires fix {factor:g}").format(factor=options["hires"])
    if options.get("variation_strength"):
        values = {"seed": options.get("variation_seed"), "strength": options["variation_strength"]}
        yield translate("variation seed {seed} ({strength:g})").format(**values)
    if options.get("guidance_rescale"):
        yield translate("CFG rescale {value:g}").format(value=options["guidance_rescale"])
    if options.get("clip_skip", 1) > 1:
        yield translate("clip skip {value}").format(value=options["clip_skip"])
    if options.get("schedule"):
        yield translate("schedule {name}").format(name=options["schedule"])
    if options.get("tiling"):
        yield translate("seamless")


def _used_image(image: ImageRef, translate: Translate) -> str:
    """A control or a reference with its weight, if that is not 1, and when it counts, if that is not always."""
    if image.role not in ("control", "reference"):
        return ""
    said = translate(_CONTROL if image.role == "control" else _REFERENCE).format(kind=image.kind).rstrip()
    if image.weight != 1:
        said = f"{said} {image.weight:g}"
    if (image.start, image.end) == (0, 1):
        return said
    return translate("{control} from {start:g} to {end:g}").format(control=said, start=image.start, end=image.end)
