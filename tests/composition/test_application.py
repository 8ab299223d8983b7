"""The application as `composition` wires it, with test engines."""

from dataclasses import replace
from typing import Any

import pytest

from adapters.registry import is_enabled
from bot.errors import StartupError
from bot.jobs import JobState, Origin
from bot.models import TEXT_TO_IMAGE, ModelRegistry, ModelSpec
from bot.ports import DeviceStatus
from bot.runtime.lock import DataLock
from bot.usecases import Request
from composition.application import open_application
from composition.settings import load_settings
from inference.backends.builds import start_build
from storage import open_storage
from tests.application_fixture import make_config, open_test_application
from tests.storage.factories import accept, make_origin
from tests.web.fake_pool import TestPool


@pytest.mark.process
async def test_at_startup_jobs_of_a_removed_model_fail_and_half_made_builds_are_deleted(tmp_path):
    loaded = load_settings(environ={"EASEL_DATA_DIR": str(tmp_path)})
    loaded = replace(loaded, models=ModelRegistry({}))
    async with open_storage(loaded.settings["storage"], tmp_path) as storage:
        ann = await storage.people.identify_account("web", "ann", "Ann")
        [job] = await accept(storage, ann)
    start_build(tmp_path / "builds")

    with DataLock(tmp_path) as lock:
        async with open_application(loaded, secret=lock.secret, engines="tests.inference.engines:build") as application:
            assert (await application.storage.jobs.get_job(job.id, ann.id)).state is JobState.FAILED
    assert list((tmp_path / "builds").iterdir()) == []


TOKENS = {"discord": "DISCORD_TOKEN", "telegram": "TELEGRAM_BOT_TOKEN"}


def load(tmp_path, **environ):
    return load_settings(environ={"EASEL_DATA_DIR": str(tmp_path), **environ})


@pytest.mark.parametrize(("name", "variable"), TOKENS.items())
@pytest.mark.parametrize(
    ("enabled", "token", "expected"),
    [("auto", "", False), ("auto", "123:abc", True), ("false", "123:abc", False), ("true", "123:abc", True)],
)
def test_a_chat_is_enabled_by_its_token_unless_configured_otherwise(tmp_path, name, variable, enabled, token, expected):
    loaded = load(tmp_path, **{f"EASEL_{name.upper()}__ENABLED": enabled, variable: token})

    assert is_enabled(loaded, name) is expected


@pytest.mark.parametrize("name", TOKENS)
def test_a_chat_that_is_enabled_without_a_token_is_reported(tmp_path, name):
    loaded = load(tmp_path, **{f"EASEL_{name.upper()}__ENABLED": "true"})

    with pytest.raises(StartupError, match=TOKENS[name]):
        is_enabled(loaded, name)


def test_the_page_needs_no_token(tmp_path):
    assert is_enabled(load(tmp_path), "web")
    assert not is_enabled(load(tmp_path, EASEL_WEB__ENABLED="false"), "web")


def test_the_webhooks_secret_is_no_setting(tmp_path):
    loaded = load(tmp_path, EASEL_TELEGRAM__WEBHOOK_SECRET="hush")

    assert loaded.secrets.get("EASEL_TELEGRAM__WEBHOOK_SECRET") == "hush"
    assert "hush" in loaded.secrets.values()
    assert "hush" not in repr(loaded)


@pytest.mark.process
async def test_forgetting_a_person_stops_their_running_jobs(tmp_path):
    loaded = load(tmp_path)
    with DataLock(tmp_path) as lock:
        async with open_application(loaded, secret=lock.secret, engines="tests.inference.engines:build") as application:
            ann = await application.usecases.people.identify_account("discord", "1", "Ann")
            request = Request(
                origin=make_origin(platform="discord"),
                command="imagine",
                options={"prompt": "a fox"},
                wants_delivery=True,
            )
            await application.usecases.jobs.submit(ann, request)
            await application.usecases.people.forget_person(ann)
            history, _ = await application.usecases.jobs.list_tickets(ann)

            assert history == []
            assert await application.storage.ledger.find_imbalances() == []


async def test_the_forecast_of_a_single_command_counts_all_its_jobs_as_running_together(tmp_path):
    """As they do: nobody else waits."""
    eta_s = {}
    for only_submitted in (False, True):
        paint = ModelSpec(name="paint", tasks=(TEXT_TO_IMAGE,), repo="paint").with_capabilities({"rows": 4})
        pool: Any = TestPool([paint.name], slots=4)
        pool.device_statuses = lambda: [DeviceStatus(device="cpu", state="ready", loaded=("paint",), slots=4)]
        config = make_config(tmp_path / str(only_submitted), [paint])
        async with open_test_application(config, pool, None, only_submitted=only_submitted) as application:
            person = await application.usecases.people.local_person()
            origin = Origin(platform="cli", space_id="cli", account_id=person.id)
            request = Request(origin=origin, command="imagine", options={"prompt": "a {red|blue|green|black} circle"})
            eta_s[only_submitted] = (await application.usecases.jobs.quote(person, request)).eta_s

    assert (eta_s[True] or 0) < (eta_s[False] or 0)
