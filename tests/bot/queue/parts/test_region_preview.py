"""A previewed region is the mask that a request with that region would use."""

import io

import pytest
from PIL import Image

from bot.errors import InvalidOption
from bot.jobs import Media
from bot.models import IMAGE_SEGMENTATION, ModelRegistry
from bot.ports import RenderedImage, Task, TaskImage, TaskOutput
from bot.queue.parts.previews import PreviewFinish
from bot.queue.parts.regions import RegionFinder, RegionFinish, RegionPreparation
from tests.fakes import make_model
from tests.in_process_tools import TOOLS
from tests.inference.support import png

SEGMENT = make_model(name="segment", tasks=(IMAGE_SEGMENTATION,))
PHOTO = Media(png(Image.new("RGB", (128, 96), "red")), "image/png")


def make_mask():
    mask = Image.new("RGB", (128, 96))
    mask.paste("white", (40, 30, 80, 60))
    image = RenderedImage(media=Media(png(mask), "image/png"), width=128, height=96, parameters="", nsfw=0.2)
    return TaskOutput(images=(image,), seconds=0.5)


def make_task(command, task, **options):
    return Task(
        id="job", command=command, task=task, model=SEGMENT, options=options, images=(TaskImage("init", PHOTO),)
    )


async def refuse(_part):
    raise AssertionError("no part is needed")


async def show(output, words="the sky"):
    task = make_task("preview", IMAGE_SEGMENTATION, what="region", region=words)
    for finish in (RegionFinish(), PreviewFinish(images=TOOLS)):
        output = await finish.finish(task, output, refuse)
    return output


async def test_the_mask_shown_is_the_mask_used():
    async def run_part(task):
        return make_mask()

    tools = TOOLS
    used = await RegionPreparation(
        images=tools, finder=RegionFinder(models=ModelRegistry({"segment": SEGMENT}))
    ).prepare(make_task("imagine", "image-to-image", region="the sky"), run_part)
    (shown,) = (await show(make_mask())).images

    assert shown.media == next(image.media for image in used.images if image.role == "mask")
    assert (shown.width, shown.height, shown.nsfw) == (128, 96, 0.2)
    assert Image.open(io.BytesIO(shown.media.data)).convert("L").getpixel((60, 45)) == 255


async def test_a_region_that_is_not_there_is_no_preview():
    output = TaskOutput(images=make_mask().images, text="the sky")

    with pytest.raises(InvalidOption):
        await show(output)
