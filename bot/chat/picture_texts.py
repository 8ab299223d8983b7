"""What is said beside pictures: which one it is, what it shows, and what its file is."""

from bot.chat.texts import MAX_QUOTED_PROMPT, shorten
from bot.i18n import translator
from bot.jobs import Job, StoredImage
from bot.options import clean_text

MAX_ALT = 150
"""Characters of each of several descriptions: those of four pictures have to fit below their prompt."""


def format_picture(job: Job, number: int, locale: str = "en") -> str:
    """Under one picture of several: which one it is, and what makes it again."""
    assert job.result is not None
    translate, prompt = translator(locale), clean_text(str(job.options.get("prompt") or ""))
    count = job.result.places
    title = translate("Picture {number} of {count}").format(number=number, count=count) if count > 1 else ""
    shown, seed = job.result.find_picture(number), job.result.seed_of(number)
    details = [title, f"{shown.width}x{shown.height}" if shown else ""]
    details.append("" if seed is None else translate("seed {seed}").format(seed=seed))
    return "\n".join(filter(None, [prompt, ", ".join(filter(None, details))]))


def alt_of(job: Job, image: StoredImage) -> str:
    """A description of one of the job's pictures for people who cannot see it."""
    return image.alt or str(job.options.get("prompt") or "")


def format_alts(job: Job) -> str:
    """What each of several pictures shows, numbered in one text; nothing that the prompt does not say already."""
    result = job.result
    prompt = str(job.options.get("prompt") or "")
    if result is None or result.places < 2 or all(image.alt in ("", prompt) for image in result.media):
        return ""
    return "\n".join(f"{image.number}. {shorten(alt_of(job, image), MAX_ALT)}" for image in result.media)


def format_original(job: Job, locale: str = "en", *, picture: int = 0) -> str:
    """Beside the files as rendered: of what they are, their size and format."""
    translate = translator(locale)
    made = [one for one in (job.result.media if job.result else ()) if picture in (0, one.number)]
    prompt = shorten(clean_text(str(job.options.get("prompt") or "")), MAX_QUOTED_PROMPT)
    title = translate("Original of \u201c{prompt}\u201d").format(prompt=prompt) if prompt else translate("Original")
    formats = dict.fromkeys(f"{one.width}x{one.height}, {one.media_type.partition('/')[2].upper()}" for one in made)
    return ", ".join([title, *formats])
