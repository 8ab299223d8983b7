"""Builds what trains adapters: the trainer's process, its use case, captions for pictures that have none, and the
corrections that may be learned from."""

from typing import TYPE_CHECKING

from adapters.cli.ports import LoadedConfig
from bot.ports import Correction, ImageProcessor, Pool
from bot.usecases import AdapterUseCases, CorrectionUseCases, Moderation
from bot.usecases.training_captions import TrainingCaptions
from bot.usecases.training_examples import TrainingExamples
from bot.usecases.training_samples import TrainingSamples
from bot.usecases.training_work import TrainingWork
from bot.usecases.trainings import Trainings
from inference.learning.trainer_client import TrainerClient
from storage import Storage

if TYPE_CHECKING:
    from composition.usecases import ModelSources


def build_adapters(loaded: LoadedConfig, storage: Storage, pool: Pool, sources: "ModelSources") -> AdapterUseCases:
    return AdapterUseCases(
        store=storage.adapters,
        models=loaded.models,
        pool=pool,
        owner_config=sources.owner_config,
        data_dir=loaded.data_dir,
    )


def build_learning(
    loaded: LoadedConfig,
    storage: Storage,
    pool: Pool,
    pictures: ImageProcessor,
    sources: "ModelSources",
    moderation: Moderation,
    adapters: AdapterUseCases,
) -> tuple[Trainings, CorrectionUseCases]:
    threads = getattr(loaded.settings.get("pool"), "threads", 0)
    captions = TrainingCaptions(models=loaded.models, pool=pool, image_processor=pictures)

    async def switch_on(model: str, name: str) -> None:
        await adapters.use(model, name)

    async def read_image(correction: Correction) -> bytes | None:
        return await corrections.read_image(correction)

    async def list_allowed() -> set[str]:
        return {one.id for one in await storage.corrections.list_consented()}

    async def is_taken(name: str) -> bool:
        return loaded.models.find(name) is not None or await sources.files.has_addon(name)

    trainings = Trainings(
        models=loaded.models,
        trainer=TrainerClient(threads),
        adapters=adapters,
        pool=pool,
        work=TrainingWork(loaded.data_dir),
        machine_spec=sources.machine_spec,
        copy_examples=TrainingExamples(list_corrections=storage.corrections.list_consented, read_image=read_image).copy,
        list_allowed=list_allowed,
        caption_images=captions.caption_images,
        switch_on=switch_on,
        is_taken=is_taken,
        score_samples=TrainingSamples(models=loaded.models, pool=pool).score,
        threads=threads,
    )
    corrections = CorrectionUseCases(
        store=storage.jobs,
        corrections=storage.corrections,
        media=storage.media,
        moderation=moderation,
        forget_examples=trainings.forget_examples,
    )
    return trainings, corrections
