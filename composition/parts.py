"""The parts of jobs beside their main tasks, in the order in which they run."""

from bot.models import ModelRegistry
from bot.ports import ImageProcessor
from bot.queue.parts.canvases import OutpaintingPreparation
from bot.queue.parts.details import DetailFinish
from bot.queue.parts.enhancing import EnhanceFinish, EnhancePreparation
from bot.queue.parts.kept_subject import KeptSubjectPreparation
from bot.queue.parts.maps import MapCache, MapPreparation
from bot.queue.parts.previews import PreviewFinish
from bot.queue.parts.ranked_pictures import BestOf
from bot.queue.parts.refining import RefinePreparation
from bot.queue.parts.regions import RegionFinder, RegionFinish, RegionPreparation
from bot.queue.task_runner import Finish, Preparation


def build_preparations(models: ModelRegistry, images: ImageProcessor, maps: MapCache) -> list[Preparation]:
    """What is made before a job's main task. `maps`: of pictures, and masks of their regions."""
    return [
        EnhancePreparation(models=models),
        RegionPreparation(images=images, finder=RegionFinder(models=models, cache=maps)),
        KeptSubjectPreparation(models=models),
        MapPreparation(models=models, images=images, cache=maps),
        OutpaintingPreparation(models=models, images=images),
        RefinePreparation(models=models, images=images),
    ]


def build_finishes(models: ModelRegistry, images: ImageProcessor, maps: MapCache, best: BestOf) -> list[Finish]:
    """What is made of the output of a job's main task. `best`: judges pictures while they are made, too."""
    return [
        EnhanceFinish(),
        RegionFinish(),
        PreviewFinish(images=images),
        DetailFinish(images=images, finder=RegionFinder(models=models, cache=maps)),
        best,
    ]
