"""Which images a job has, for the person who follows up on it, and who posted them. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from bot.commands import COMMANDS, Answer, answer_of
from bot.errors import ImageGone
from bot.jobs import BY_BOT, ImageRef, Job, Origin, StoredImage
from bot.models import CONTROL_KINDS


def images_of_job(job: Job) -> tuple[ImageRef, ...]:
    """Its output images, also if they are gone; of a job that makes none, its input images.

    An image that only shows the input in another form, such as an enlarged one, remains its author's.
    """
    inputs = images_with_authors(job)
    if job.result is None or not (job.result.media or answer_of(job.command) is Answer.IMAGES):
        return inputs
    author = inputs[0].author if inputs and _keeps_author(job.command) else BY_BOT
    return tuple(ImageRef(image.id, author=author) for image in job.result.media)


def _keeps_author(command: str) -> bool:
    return command in COMMANDS and COMMANDS[command].keeps_author


def images_with_authors(job: Job) -> tuple[ImageRef, ...]:
    """The job's input images, each with the account that posted it, which may differ from the next requester."""
    return tuple(replace(image, author=image.author or job.origin.account_id) for image in job.images)


def seen_from(origin: Origin, job: Job, images: Sequence[ImageRef]) -> tuple[ImageRef, ...]:
    """The images with what the place of a request adds: whether they are from elsewhere, or hidden there."""
    is_foreign = not origin.is_same_chat(job.origin)
    return tuple(
        replace(image, is_foreign=image.is_foreign or is_foreign, is_hidden=image.is_hidden or job.is_spoiler)
        for image in images
    )


def picture_at(job: Job, picture: int) -> StoredImage | None:
    """The picture with this number; 0: the first that is left."""
    if job.result is None:
        return None
    return job.result.find_picture(picture) if picture else next(iter(job.result.media), None)


def image_at(job: Job, picture: int) -> ImageRef:
    """Raises: ImageGone."""
    images = images_of_job(job)
    if job.result is not None and job.result.media:
        numbers = [one.number for one in job.result.media]
    else:
        numbers = list(range(1, len(images) + 1))
    if not images or picture not in (0, *numbers):
        raise ImageGone
    return images[numbers.index(picture) if picture else 0]


def as_map(job: Job, image: ImageRef) -> ImageRef:
    """The picture of a `preview` as the ready map or the mask that it is; that of any other job as it is."""
    if job.command != "preview" or job.result is None or not job.result.media:
        return image
    kind = job.options.get("kind")
    if job.options.get("what") == "control" and kind in CONTROL_KINDS:
        return replace(image, kind=str(kind), ready=True)
    return replace(image, role="mask") if job.options.get("what") == "region" else image
