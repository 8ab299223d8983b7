"""From a hub to the first image and the first answer; everything is real, except that the models are tiny."""

import asyncio
import shutil
import sys
from dataclasses import replace

import pytest
import pytest_asyncio
from PIL import Image

from bot import error_texts
from bot.errors import EaselError, ModelRefused
from bot.jobs import ImageRef, JobState, Origin
from bot.models import IMAGE_TO_TEXT, TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING, ZERO_SHOT_IMAGE_CLASSIFICATION
from bot.settings import hub_repo_dir
from bot.usecases import Request
from composition.application import open_application
from composition.settings import ROOT, load_settings
from inference.ipc.messages import RetryPolicy
from tests.hub.server import Fault, etag_of, serve_hub
from tests.inference.support import png
from tests.inference.tiny import save_classifier, save_diffusion
from tests.inference.tiny_chat import save_chat
from tests.inference.vision.test_loader import to_original_layout

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
CONFIG = """
[safety]
classifier = "org/judge"
[storage]
min_free_mb = 0
[devices]
use = "cpu"
[pool]
nice = 0
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    folder = tmp_path_factory.mktemp("repos")
    with serve_hub() as hub:
        hub.add("org/tiny-sd", save_diffusion(folder / "sd"), licence="creativeml-openrail-m")
        old = shutil.copytree(ROOT / "models" / "starter-vision", folder / "blip")
        to_original_layout(old)
        hub.add("org/tiny-blip", old, licence="mit")
        hub.add("org/tiny-match", ROOT / "models" / "starter-match", licence="mit")
        hub.add("Qwen/Qwen3-VL-2B-Instruct", save_chat(folder / "chat", "qwen3_vl"), licence="apache-2.0")
        hub.add("org/judge", save_classifier(folder / "judge"), licence="apache-2.0")
        yield hub


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app(hub, tmp_path_factory, forked_engines):
    data_dir, cache = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("cache")
    (data_dir / "config.toml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            patch.delenv(name, raising=False)
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HF_HUB_CACHE", str(cache))
        loaded = load_settings(environ={"EASEL_DATA_DIR": str(data_dir)})
        async with open_application(loaded, secret="s", only_submitted=False) as app, asyncio.TaskGroup() as group:
            dispatching = group.create_task(app.dispatcher.run_forever())
            yield app
            await app.usecases.model_manager.close()
            await app.dispatcher.close(0)
            await dispatching


@pytest_asyncio.fixture(loop_scope="module")
async def red_picture(app):
    person = await app.usecases.people.local_person()
    stored = await app.usecases.media.upload(person, png(Image.new("RGB", (64, 64), "red")), source="web")
    return ImageRef(stored.id)


async def use_model(app, name, **how):
    installation = await app.usecases.model_manager.use_model(name, **{"licence_accepted": True, **how})
    await installation.task
    return installation


async def run_job(app, command, *, images=(), **options):
    usecases = app.usecases
    person = await usecases.people.local_person()
    origin = Origin(platform="web", space_id="web", account_id=person.id)
    request = Request(origin=origin, command=command, options=options, images=images)
    [ticket] = await usecases.jobs.submit(person, request)
    return await usecases.jobs.wait_for_job(person, ticket.job.id)


async def test_a_repo_is_added_fetched_tried_and_draws(app, hub):
    catalogue, models = app.usecases.catalogue, app.usecases.models

    spec = await catalogue.add_model("org/tiny-sd", name="tiny")
    assert (spec.tasks, spec.licence) == ((TEXT_TO_IMAGE, "image-to-image"), "creativeml-openrail-m")
    with pytest.raises(ModelRefused) as refused:
        await app.usecases.model_manager.use_model("tiny")
    assert refused.value.problem == "licence"
    models.add_preset(replace(spec, width=64, height=64))  # its smoke tests draw in its own size

    installation = await use_model(app, "tiny")

    assert installation.error == ""
    assert [trial.task for trial in installation.smoke_tests] == [TEXT_TO_IMAGE, "image-to-image"]
    assert models.default_for(TEXT_TO_IMAGE).name == "tiny"
    job = await run_job(app, "imagine", prompt="a knight at sunset", size="64x64", steps=2)
    assert job.state is JobState.DELIVERED, job.error
    assert (job.result.model, job.result.revision) == ("tiny", hub.repos["org/tiny-sd"].commit)
    assert hub.get_requests("config.json")


async def test_an_old_blip_is_fetched_mended_and_answers(app):
    await app.usecases.catalogue.add_model("org/tiny-blip")

    installation = await use_model(app, "tiny-blip", tasks=[VISUAL_QUESTION_ANSWERING])

    assert installation.error == ""
    assert ["rocket" in trial.text for trial in installation.smoke_tests] == [True, True]
    models = app.usecases.models
    assert models.default_for(VISUAL_QUESTION_ANSWERING).name == "tiny-blip"
    assert models.default_for(IMAGE_TO_TEXT).name == "tiny-blip"  # no demo, where a real model can


async def test_a_matcher_is_fetched_tried_and_says_which_text_fits(app):
    spec = await app.usecases.catalogue.add_model("org/tiny-match")
    assert spec.tasks == (ZERO_SHOT_IMAGE_CLASSIFICATION,)

    installation = await use_model(app, "tiny-match")

    assert installation.error == ""
    assert app.usecases.models.default_for(ZERO_SHOT_IMAGE_CLASSIFICATION).name == "tiny-match"


async def test_the_choice_is_in_the_owners_file(app):
    loaded = load_settings(environ={"EASEL_DATA_DIR": str(app.usecases.model_manager.owner_config.data_dir)})

    assert loaded.models.default_for(TEXT_TO_IMAGE).name == "tiny"
    assert loaded.models.default_for(VISUAL_QUESTION_ANSWERING).name == "tiny-blip"
    assert loaded.models.default_for(IMAGE_TO_TEXT).name == "tiny-blip"  # no demo, where a real model can


async def test_the_preset_of_a_model_that_chats_is_fetched_tried_and_answers(app, hub, red_picture):
    installation = await use_model(app, "qwen3-vl-2b")

    assert installation.error == ""
    assert {trial.task for trial in installation.smoke_tests} == {IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING}
    spec = app.usecases.models.default_for(VISUAL_QUESTION_ANSWERING)
    assert (spec.name, spec.capabilities["max_images"]) == ("qwen3-vl-2b", 10)
    job = await run_job(app, "ask", images=(red_picture, red_picture), question="what is this", min_new_tokens=4)
    assert job.state is JobState.DELIVERED, job.error
    assert job.result.revision == hub.repos["Qwen/Qwen3-VL-2B-Instruct"].commit


async def test_a_repo_that_is_damaged_on_the_hub_changes_nothing(app, hub):
    files = dict(hub.repos["org/tiny-sd"].files)
    weights = next(path for path in files if path.startswith("unet/") and path.endswith(".safetensors"))
    hub.add("org/broken", {**files, weights: files[weights][: len(files[weights]) // 2]})
    await app.usecases.catalogue.add_model("org/broken")

    installation = await use_model(app, "broken")

    assert installation.error.startswith("broken was downloaded, but its test failed")
    assert "Traceback" not in installation.error
    assert app.usecases.models.default_for(TEXT_TO_IMAGE).name == "tiny"
    job = await run_job(app, "imagine", prompt="a knight", size="64x64", steps=1)
    assert job.state is JobState.DELIVERED


FAULTS = {
    "401": "open {url}, accept its terms, set HF_TOKEN, and run this again.",
    "403": "This HF_TOKEN has no access to org/hard",
    "404": "org/hard was not found on the hub: check the name at {url}",
    "stall": "stalled: run this again to resume it.",
    "reset": "was interrupted: run this again to resume it.",
    "busy": "is overloaded",
    "wrong": "was corrupt twice and has been discarded",
    "full": "free some, or set HF_HOME to another disk.",
    "memory": "choose a smaller model.",
}


def spoil(kind, hub, downloads, patch):
    """Make the hub or this machine fail."""
    repo = hub.repos["org/hard"]
    weights = next(path for path in repo.files if path.startswith("unet/") and path.endswith(".safetensors"))
    if kind in ("401", "403"):
        repo.token = "hf_right"
        patch.setattr(downloads, "token", "hf_wrong" if kind == "403" else "")
    elif kind == "404":
        hub.repos.pop("org/hard")
        patch.setattr(downloads, "token", "hf_right")  # without one, the hub says 401 of what is not there
    elif kind == "full":
        part = hub_repo_dir("org/hard") / "blobs" / f"{etag_of(weights, repo.files[weights])}.part"
        part.parent.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        part.symlink_to("/dev/full")
    elif kind != "memory":
        hub.faults[weights] = Fault({"busy": "503"}.get(kind, kind), times=99)


@pytest.mark.parametrize("kind", FAULTS)
async def test_whatever_goes_wrong_the_old_model_stays_and_the_owner_reads_why(app, hub, monkeypatch, kind):
    manager, models = app.usecases.model_manager, app.usecases.models
    if kind == "full" and sys.platform != "linux":
        pytest.skip("only Linux has /dev/full, a disk that is always full")
    hub.add("org/hard", {**hub.repos["org/tiny-sd"].files, "README.md": kind.encode()}, licence="mit")
    spec = replace(models.find("tiny"), name="hard", repo="org/hard", revision="", enabled=False, default_for=())
    models.add_preset(replace(spec, ram_mb=10**9) if kind == "memory" else spec)
    retry_policy = RetryPolicy(stall_timeout_s=0.3, max_attempts=2, backoff_s=0.01, max_backoff_s=0.02)
    monkeypatch.setattr(manager.downloads, "retry_policy", retry_policy)
    monkeypatch.setattr(manager, "extra_repos", ())  # the classifier has its own way here, which is clear
    spoil(kind, hub, manager.downloads, monkeypatch)
    before = manager.owner_config.path.read_text()

    try:
        installation = await manager.use_model("hard", licence_accepted=True)
        await installation.task
        sentence = installation.error
    except EaselError as error:
        sentence = error_texts.explain(error)

    assert FAULTS[kind].format(url=f"{hub.url}/org/hard") in sentence
    assert models.default_for(TEXT_TO_IMAGE).name == "tiny"
    assert models.get("hard") is None
    assert manager.owner_config.path.read_text() == before
    hub.faults.clear()
    await manager.downloads.delete_repo("org/hard")


async def test_what_is_removed_makes_room_and_the_starter_draws_again(app):
    freed = await app.usecases.catalogue.remove_model("tiny")

    assert freed > 100_000
    assert app.usecases.models.default_for(TEXT_TO_IMAGE).name == "starter-image"
    job = await run_job(app, "imagine", prompt="a red circle", steps=1)
    assert (job.state, job.result.model) == (JobState.DELIVERED, "starter-image")
