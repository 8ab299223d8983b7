"""Builds search by meaning, and what embeds pictures for it."""

from adapters.cli.ports import LoadedConfig
from bot.ports import Pool
from bot.queue.dispatcher import Dispatcher
from bot.usecases import JobUseCases, MeaningSearch, VectorUseCases
from bot.usecases.free_memory import FreeMemory
from bot.usecases.match_tasks import MatchTasks
from bot.usecases.picture_embedding import PictureEmbedder
from composition.usecases import ModelSources
from storage import Storage


def build_searching(
    loaded: LoadedConfig, storage: Storage, pool: Pool, jobs: JobUseCases, dispatcher: Dispatcher, sources: ModelSources
) -> tuple[MeaningSearch, VectorUseCases, PictureEmbedder]:
    pool_settings = loaded.settings.get("pool")
    free_memory = FreeMemory(
        models=loaded.models,
        pool=pool,
        machine_spec=sources.machine_spec,
        max_loaded_models=getattr(pool_settings, "max_loaded_models", 4),
        loaded_models_mb=getattr(pool_settings, "loaded_models_mb", 0),
    )
    tasks = MatchTasks(models=loaded.models, pool=pool, on_event=dispatcher.record_event, free_memory=free_memory)
    is_enabled = loaded.settings["search"].meaning
    search = MeaningSearch(
        jobs=jobs,
        history=storage.history,
        embeddings=storage.embeddings,
        media=storage.media,
        tasks=tasks,
        is_enabled=is_enabled,
    )
    jobs.forget_searches = search.forget
    embedder = PictureEmbedder(
        embeddings=storage.embeddings,
        media=storage.media,
        tasks=tasks,
        count_open=storage.administration.count_open,
        free_memory=free_memory,
        is_enabled=is_enabled,
    )
    return search, VectorUseCases(media=storage.media, embeddings=storage.embeddings, tasks=tasks), embedder
