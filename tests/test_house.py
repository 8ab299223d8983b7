"""The house as `main` wires it, on made-up engines."""

from dataclasses import replace

import main
from bot.jobs import JobState
from bot.lock import DataLock
from bot.models import Models
from storage import open_storage
from tests.storage.factories import accept


async def test_at_start_jobs_of_a_model_that_was_taken_away_are_failed(tmp_path):
    loaded = main.load(environ={"EASEL_DATA_DIR": str(tmp_path)})
    loaded = replace(loaded, models=Models({}))
    async with open_storage(loaded.settings["storage"], tmp_path) as storage:
        ann = await storage.people.identify("web", "ann", "Ann")
        [job] = await accept(storage, ann)

    with DataLock(tmp_path) as lock:
        async with main.open_house(loaded, secret=lock.secret, engines="tests.inference.engines:build") as house:
            assert (await house.storage.jobs.get(job.id, ann.id)).state is JobState.FAILED
