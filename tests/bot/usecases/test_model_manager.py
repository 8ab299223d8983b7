"""Choosing models while the house runs: terms, fetching, trying, switching, failing, removing."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest

from bot.errors import DownloadFailed, EngineError, ModelRefused, StorageFull
from bot.jobs import Media
from bot.memory.fit import MachineSpec
from bot.model_install.owner_config import ModelConfigFile
from bot.models import IMAGE_TO_TEXT, TEXT_TO_IMAGE, VISUAL_QUESTION_ANSWERING, InstallProgress, ModelRegistry
from bot.ports import CheckpointInfo, ModelCapabilities, Offer, Progress, RenderedImage, RepoRef, TaskOutput
from bot.queue.pricing import Rates
from bot.queue.progress import ProgressBus
from bot.settings import read_settings
from bot.usecases import ModelCatalogue, ModelManager
from bot.usecases.model_manager import RESERVED_DISK_BYTES
from tests.fakes import make_job, make_model
from tests.model_manager_fixture import COMMIT, MB, FakeFiles, FakeHub

SEEING = (IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)


class Device:
    """Makes what is asked, once it may."""

    def __init__(self):
        self.known, self.tasks, self.error = None, [], None

    def set_models(self, models):
        self.known = [model.name for model in models]

    def list_offers(self):
        return [Offer(device="cpu", models=frozenset())]

    async def run_task(self, task):
        self.tasks.append(task)
        yield Progress(step=0, steps=1, note="loading")
        if self.error is not None:
            raise self.error
        yield ModelCapabilities(model=task.model.name, capabilities={"samplers": ["euler"], "revision": COMMIT})
        yield Progress(step=1, steps=1)
        if task.task in SEEING:
            yield TaskOutput(text="a fox", seconds=0.2)
        else:
            yield TaskOutput(
                images=(RenderedImage(media=Media(b"png", "image/png"), width=8, height=8, parameters=""),), seconds=1
            )


class Store:
    def __init__(self):
        self.queued, self.failed = [], []

    async def orphaned(self, names, limit):
        return [job for job in self.queued if job.model not in names][:limit]

    async def fail_queued(self, job_id, reason):
        job = next(job for job in self.queued if job.id == job_id)
        self.queued.remove(job)
        self.failed.append((job, reason))
        return job


PRESET = make_model(
    name="fox", title="Fox XL", tasks=(TEXT_TO_IMAGE,), repo="org/fox", enabled=False, licence="fox-1.0",
    steps=2, width=64, height=64, ram_mb=1000,
)  # fmt: skip
STARTER = make_model(name="starter", tasks=(TEXT_TO_IMAGE, *SEEING), repo="/clone/starter", demo=True)


@pytest.fixture
def town(tmp_path):
    models = ModelRegistry({"starter": STARTER, "fox": PRESET})
    town = SimpleNamespace(
        models=models, hub=FakeHub(), device=Device(), store=Store(), files=FakeFiles(), woken=[], learned=[],
        ram_mb=8000,
        choices=ModelConfigFile(tmp_path, lambda: {"starter": STARTER, "fox": PRESET}), config=tmp_path / "config.toml",
    )  # fmt: skip

    async def record(event):
        town.learned.append(event)

    async def record_form(model, form):
        town.learned.append(form)

    async def hardware():
        ram_mb = town.ram_mb
        return MachineSpec(devices=(("cpu", "cpu", ram_mb),), ram_mb=ram_mb, free_ram_mb=ram_mb, disk_free_mb=10**6)

    def open_again():
        return ModelManager(
            models=town.models, downloads=town.hub, pool=town.device, owner_config=town.choices,
            store=town.store, measurements=SimpleNamespace(record_measurement=record, record_capabilities=record_form), rates=Rates(),
            progress_bus=town.events, sample_image=lambda: Media(b"a picture", "image/png"), machine_spec=hardware,
            wake=town.woken.append, extra_repos=town.also,
        )  # fmt: skip

    town.events, town.also, town.open_again = ProgressBus(), (), open_again
    town.using = open_again()
    return town


async def finished(town, name="fox", **how):
    installation = await town.using.use_model(name, **{"licence_accepted": True, **how})
    await installation.task
    return installation


def settings_of(town, name):
    from bot.models import ModelSettings

    read = read_settings({}, model_type=ModelSettings, files=[town.config], environ={})
    return read["models"][name]


# ---------------------------------------------------------------- terms


async def test_terms_say_what_it_takes(town):
    terms = await town.using.get_terms("fox")

    assert (terms.licences, terms.requires_licence, terms.missing_bytes) == (("fox-1.0",), True, 100 * MB)


async def test_the_hubs_licence_stands_in_for_one_that_the_settings_lack(town):
    town.models.add_preset(replace(PRESET, name="owl", licence=""))

    assert (await town.using.get_terms("owl")).licences == ("apache-2.0",)


async def test_a_starter_asks_no_hub_and_no_licence(town):
    terms = await town.using.get_terms("starter")

    assert not terms.requires_licence
    assert town.hub.inspected == []


async def test_an_unknown_name_is_told_the_nearest(town):
    with pytest.raises(ModelRefused) as refused:
        await town.using.get_terms("foks")
    assert (refused.value.problem, refused.value.detail) == ("unknown", "fox")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda town: setattr(town.hub, "free", 100 * MB + RESERVED_DISK_BYTES - 1), "disk"),
        (lambda town: setattr(town, "ram_mb", 500), "memory"),
    ],
)
async def test_what_cannot_be_had_is_refused_before_anything_is_fetched(town, change, problem):
    change(town)

    with pytest.raises(ModelRefused) as refused:
        await town.using.use_model("fox", licence_accepted=True)
    assert refused.value.problem == problem
    assert town.models.get("fox") is None
    assert town.hub.downloaded == []


async def test_a_licence_that_was_not_accepted_is_asked_for(town):
    with pytest.raises(ModelRefused) as refused:
        await town.using.use_model("fox")
    assert (refused.value.problem, refused.value.detail) == ("licence", "fox-1.0")


async def test_an_owner_may_try_what_is_not_expected_to_fit(town):
    town.ram_mb = 500

    assert (await finished(town, force=True)).error == ""


async def test_a_task_that_it_cannot_do_is_refused(town):
    with pytest.raises(ModelRefused) as refused:
        await town.using.use_model("fox", licence_accepted=True, tasks=[IMAGE_TO_TEXT])
    assert refused.value.problem == "task"


# ---------------------------------------------------------------- using


async def test_a_model_is_fetched_tried_and_then_the_default_without_a_restart(town):
    installation = await finished(town)

    assert installation.error == ""
    assert town.hub.downloaded == ["org/fox"]
    [trial] = installation.smoke_tests
    assert trial.image == Media(b"png", "image/png")
    [task] = town.device.tasks
    assert (task.model.revision, task.is_urgent, task.is_exclusive) == (COMMIT, True, True)
    assert town.models.default_for(TEXT_TO_IMAGE).name == "fox"
    assert town.models.default_for(IMAGE_TO_TEXT).name == "starter"
    assert town.device.known == ["fox", "starter"]
    assert town.models.get("fox").known_samplers == ("euler",)
    assert town.woken


async def test_the_choice_outlives_a_restart(town):
    town.config.write_text('# mine\n[models.fox]\nrepo = "org/fox"\ntasks = ["text-to-image"]\nsteps = 3\n')

    await finished(town)

    kept = settings_of(town, "fox")
    assert (kept.enabled, kept.revision, kept.default_for, kept.steps) == (True, COMMIT, (TEXT_TO_IMAGE,), 3)
    assert town.config.read_text().startswith("# mine")


async def test_the_last_chosen_is_the_default_in_the_file_too(town):
    owl = replace(PRESET, name="owl", repo="org/owl")
    town.models.add_preset(owl)
    town.config.write_text("".join(f'[models.{name}]\nrepo = "r"\ntasks = []\n' for name in ("fox", "owl")))

    await finished(town)
    await finished(town, "owl")

    assert settings_of(town, "owl").default_for == (TEXT_TO_IMAGE,)
    assert settings_of(town, "fox").default_for == ()
    assert town.models.default_for(TEXT_TO_IMAGE).name == "owl"


async def test_one_model_may_answer_and_another_caption(town):
    for name in ("see", "answer"):
        town.models.add_preset(replace(PRESET, name=name, tasks=SEEING, repo=f"org/{name}"))

    await finished(town, "see", tasks=[IMAGE_TO_TEXT])
    await finished(town, "answer", tasks=[VISUAL_QUESTION_ANSWERING])

    assert town.models.default_for(IMAGE_TO_TEXT).name == "see"
    assert town.models.default_for(VISUAL_QUESTION_ANSWERING).name == "answer"
    assert [task.task for task in town.device.tasks] == [*SEEING] * 2


async def test_what_is_here_already_is_not_fetched_again(town):
    town.hub.missing = False

    assert (await finished(town)).error == ""
    assert town.hub.downloaded == []


async def test_its_loras_and_the_classifier_come_with_it(town):
    town.also = (RepoRef(repo="org/judge"),)
    town.using = town.open_again()
    town.models.add_preset(replace(PRESET, loras=("org/lcm",)))

    await finished(town)

    assert town.hub.downloaded == ["org/fox", "org/lcm", "org/judge"]


async def test_only_fetching_changes_nothing_else(town):
    installation = await finished(town, download_only=True)

    assert (installation.error, installation.is_finished) == ("", True)
    assert town.hub.downloaded == ["org/fox"]
    assert town.models.get("fox") is None
    assert not town.config.exists()


async def test_twice_at_once_is_refused(town):
    town.hub.go_on.clear()
    first = await town.using.use_model("fox", licence_accepted=True)

    with pytest.raises(ModelRefused) as refused:
        await town.using.use_model("fox", licence_accepted=True)
    assert refused.value.problem == "arriving"
    town.hub.go_on.set()
    await first.task


# ---------------------------------------------------------------- failing


@pytest.mark.parametrize(
    "error", [DownloadFailed("org/fox", "stalled"), ModelRefused("fox", "kind", detail="x"), KeyError("boo")]
)
async def test_when_fetching_fails_everything_stays_as_it_was(town, error):
    town.hub.errors["download"] = error
    job = make_job(model="fox")
    town.store.queued.append(job)

    installation = await finished(town)

    assert installation.error.endswith(".")
    assert "boo" not in installation.error
    assert town.models.get("fox") is None
    assert town.models.find("fox") == PRESET
    assert town.models.default_for(TEXT_TO_IMAGE).name == "starter"
    [(failed, reason)] = town.store.failed
    assert failed.id == job.id
    assert "weren't charged" in reason.message
    assert not town.config.exists()


async def test_when_the_trial_fails_the_old_model_stays_and_the_owner_reads_why(town):
    town.device.error = EngineError("the weights are all zero\nand more")

    installation = await finished(town)

    assert "the weights are all zero." in installation.error
    assert town.models.default_for(TEXT_TO_IMAGE).name == "starter"
    assert town.device.known == ["starter"]


async def test_a_model_in_use_survives_that_a_newer_commit_fails(town):
    await finished(town)
    town.device.error = EngineError("broken")

    assert (await finished(town)).error
    assert town.models.default_for(TEXT_TO_IMAGE).name == "fox"
    assert town.device.known == ["fox", "starter"]


async def test_settings_that_cannot_be_written_fail_the_switch(town):
    town.config.mkdir()

    installation = await finished(town)

    assert "cannot be changed" in installation.error
    assert town.models.default_for(TEXT_TO_IMAGE).name == "starter"


async def test_it_can_be_given_up(town):
    town.hub.go_on.clear()
    installation = await town.using.use_model("fox", licence_accepted=True)

    await town.using.cancel_install("fox")

    assert installation.is_finished
    assert installation.error.startswith("Cancelled.")
    assert town.models.get("fox") is None
    with pytest.raises(ModelRefused):
        await town.using.cancel_install("fox")


# ---------------------------------------------------------------- while it comes


async def test_jobs_may_ask_for_a_model_on_its_way_and_hear_how_far_it_is(town):
    town.hub.go_on.clear()
    installation = await town.using.use_model("fox", licence_accepted=True)
    job = make_job(model="fox")
    town.store.queued.append(job)

    with town.events.follow_job(job.id) as follower:
        await town.using.wait_for_change(installation)
        _, progress = await asyncio.wait_for(follower.next(), 5)

    assert progress.note == "arriving"
    assert town.models.install_progress("fox") == InstallProgress(
        stage="downloading", done=40 * MB, total=100 * MB, rate=20.0 * MB, eta_s=3.0
    )
    assert town.models.get("fox") is not None
    assert town.models.default_for(TEXT_TO_IMAGE).name == "starter"
    town.hub.go_on.set()
    await installation.task
    assert town.models.install_progress("fox") is None


async def test_a_stop_of_the_house_breaks_it_off_and_the_next_start_goes_on(town):
    town.hub.go_on.clear()
    await town.using.use_model("fox", licence_accepted=True)
    await town.using.close()
    town.models = ModelRegistry({"starter": STARTER, "fox": PRESET})
    town.hub.go_on.set()

    town.choices.restore_pending(town.models)
    assert town.models.install_progress("fox") is not None
    town.using = town.open_again()
    await town.using.resume_installs()
    await town.using.status("fox").task

    assert town.models.default_for(TEXT_TO_IMAGE).name == "fox"
    assert town.choices.pending_installs() == []


async def test_what_cannot_go_on_after_a_restart_is_given_up(town):
    town.choices.set_pending_install("fox", [TEXT_TO_IMAGE])
    town.choices.set_pending_install("gone", [TEXT_TO_IMAGE])
    town.choices.restore_pending(town.models)
    town.hub.errors["inspect_repo"] = DownloadFailed("org/fox", "not_found", url="http://hub/org/fox")

    await town.using.resume_installs()

    assert town.models.get("fox") is None
    assert town.choices.pending_installs() == []


# ---------------------------------------------------------------- adding and removing


@pytest.fixture
def catalogue(town):
    return ModelCatalogue(
        files=town.files, downloads=town.hub, registry=town.models, owner_config=town.choices, pool=town.device,
        store=town.store, wake=town.woken.append, cancel_install=town.using.cancel_running_install,
    )  # fmt: skip


async def test_a_repo_of_the_hub_becomes_known(town, catalogue):
    town.files.kind = CheckpointInfo(kind="diffusers", tasks=(TEXT_TO_IMAGE,), defaults={"steps": 4, "width": 512})

    spec = await catalogue.add_model("Org/Owl-v2.1")

    assert (spec.name, spec.repo, spec.steps, spec.licence, spec.download_mb) == (
        "owl-v2-1", "Org/Owl-v2.1", 4, "apache-2.0", 100,
    )  # fmt: skip
    assert town.models.get("owl-v2-1") is None
    assert settings_of(town, "owl-v2-1").enabled is False
    assert (await finished(town, "owl-v2-1")).error == ""


async def test_a_folder_and_a_whole_model_in_one_file_become_known(town, catalogue, tmp_path):
    folder = tmp_path / "My Model"
    folder.mkdir()
    (folder / "all.safetensors").write_bytes(b"x")
    town.files.kind = CheckpointInfo(kind="diffusers", tasks=(TEXT_TO_IMAGE,))

    one = await catalogue.add_model(str(folder), name="Mine")
    assert (one.name, one.repo, one.is_local) == ("mine", str(folder), True)

    town.files.kind = CheckpointInfo(kind="single-file", family="sd15", tasks=(TEXT_TO_IMAGE,), defaults={"steps": 25})
    all_of_it = await catalogue.add_model(str(folder / "all.safetensors"))
    assert (all_of_it.name, all_of_it.repo, all_of_it.steps) == ("all", str(folder / "all.safetensors"), 25)
    assert (await finished(town, "all")).error == ""
    assert town.hub.downloaded == []

    town.files.kind = CheckpointInfo(kind="unknown", reason="single file of Stable Diffusion 2")
    with pytest.raises(ModelRefused) as refused:
        await catalogue.add_model(str(folder / "all.safetensors"), name="two")
    assert (refused.value.problem, refused.value.detail) == ("kind", "single file of Stable Diffusion 2")


async def test_one_file_of_a_repo_may_be_the_whole_model(town, catalogue):
    town.files.kind = CheckpointInfo(kind="single-file", class_name="StableDiffusionPipeline", tasks=(TEXT_TO_IMAGE,))

    spec = await catalogue.add_model("org/owl", file="owl.safetensors")

    assert (spec.file, spec.repo) == ("owl.safetensors", "org/owl")
    assert (await finished(town, "owl")).error == ""
    assert {wanted.file for wanted in town.hub.inspected} == {"owl.safetensors"}
    assert settings_of(town, "owl").file == "owl.safetensors"


@pytest.mark.parametrize(
    ("source", "how", "problem"),
    [
        ("/nowhere/at/all", {}, "no_file"),
        ("org/fox", {"name": "fox"}, "taken"),
        ("org/owl", {"name": "!!"}, "name"),
        ("org/owl", {}, "kind"),
        ("org/owl", {"file": "a.safetensors"}, "kind"),
    ],
)
async def test_what_cannot_be_added_is_refused_with_the_reason(catalogue, source, how, problem):
    with pytest.raises(ModelRefused) as refused:
        await catalogue.add_model(source, **how)
    assert refused.value.problem == problem


async def test_a_lora_is_kept_and_listed_and_dropped(town, catalogue, tmp_path):
    path = tmp_path / "style.safetensors"
    path.write_bytes(b"lora")
    town.files.kind = CheckpointInfo(kind="lora", family="sd15")

    assert (await catalogue.add_model(str(path))).name == "style"
    with pytest.raises(ModelRefused):
        await catalogue.add_model(str(path))
    assert await catalogue.remove_model("style") == 7
    assert town.files.list_addons() == []


async def test_a_lora_of_the_hub_is_fetched_and_kept(town, catalogue, tmp_path):
    town.hub.kind, town.files.place = "", tmp_path
    town.files.kind = CheckpointInfo(kind="lora", family="sdxl")

    kept = await catalogue.add_model("org/style", file="style.safetensors")

    assert (kept.name, kept.kind, kept.family) == ("style", "lora", "sdxl")
    assert town.hub.downloaded == ["org/style"]
    town.hub.errors["download"] = StorageFull(free_mb=1024, need_mb=2048)
    with pytest.raises(ModelRefused) as refused:
        await catalogue.add_model("org/other")
    assert (refused.value.problem, refused.value.detail) == ("disk", "2.0 GiB on the disk, 1.0 GiB are free")


async def test_a_removed_preset_can_be_chosen_again_and_its_jobs_are_refunded(town, catalogue):
    await finished(town)
    town.store.queued.append(make_job(model="fox"))

    assert await catalogue.remove_model("fox") == 100 * MB

    assert town.models.get("fox") is None
    assert town.models.find("fox") == PRESET
    assert town.hub.removed == ["org/fox"]
    assert town.device.known == ["starter"]
    assert len(town.store.failed) == 1
    assert "fox" not in town.config.read_text()


async def test_files_that_another_model_needs_stay(town, catalogue):
    await finished(town)
    town.models.add_preset(replace(PRESET, name="fox-small"))
    await finished(town, "fox-small")

    assert await catalogue.remove_model("fox-small") == 0
    assert town.hub.removed == []


async def test_starters_stay(catalogue):
    with pytest.raises(ModelRefused) as refused:
        await catalogue.remove_model("starter")
    assert refused.value.problem == "starter"
