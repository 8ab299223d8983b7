"""Installing models at run time: terms, download, smoke tests, activation, failures, removal."""

import asyncio
import errno
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from adapters.cli.models.install import format_terms
from bot import error_texts
from bot.chat import admin_texts
from bot.errors import DownloadFailed, EngineError, ModelRefused, StorageFull, WorkerLost
from bot.jobs import Media
from bot.memory.fit import MachineSpec
from bot.memory.format_check import KERNEL_REPO
from bot.model_install.installer import required_repos
from bot.model_install.owner_config import ModelConfigFile
from bot.models import (
    IMAGE_TO_TEXT,
    IMAGE_UPSCALING,
    TEXT_TO_IMAGE,
    VISUAL_QUESTION_ANSWERING,
    InstallProgress,
    ModelRegistry,
)
from bot.ports import (
    FORMAT,
    CheckpointInfo,
    Measurement,
    ModelCapabilities,
    Offer,
    Progress,
    RenderedImage,
    RepoRef,
    TaskOutput,
)
from bot.queue.pricing import Rates
from bot.queue.progress import ProgressBus
from bot.settings import read_settings
from bot.usecases import ModelCatalogue, ModelManager
from bot.usecases.model_manager import RESERVED_DISK_BYTES
from bot.usecases.model_views import terms_body
from tests.fakes import make_job, make_model
from tests.model_manager_fixture import COMMIT, MB, FakeFiles, FakeHub

SEEING = (IMAGE_TO_TEXT, VISUAL_QUESTION_ANSWERING)


class Device:
    """Completes every task, or fails it with `error`: the first one only, if that has `measured` something before."""

    def __init__(self):
        self.known, self.tasks, self.error, self.measured = None, [], None, ""

    def set_models(self, models):
        self.known = [model.name for model in models]

    def list_offers(self):
        return [Offer(device="cpu", models=frozenset())]

    async def run_task(self, task):
        self.tasks.append(task)
        yield Progress(step=0, steps=1, phase="loading")
        if self.measured and len(self.tasks) == 1:
            yield Measurement(
                device="cpu", model=task.model.name, dtype="", shape="", batch_size=1, what=self.measured, seconds=1
            )
        if self.error is not None and not (self.measured and len(self.tasks) > 1):
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
def env(tmp_path):
    models = ModelRegistry({"starter": STARTER, "fox": PRESET})
    env = SimpleNamespace(
        models=models, hub=FakeHub(), device=Device(), store=Store(), files=FakeFiles(), woken_jobs=[], learned=[],
        ram_mb=8000, kind="cpu",
        owner_config=ModelConfigFile(tmp_path, lambda: {"starter": STARTER, "fox": PRESET}),
        config=tmp_path / "config.toml",
    )  # fmt: skip

    async def record(event):
        env.learned.append(event)

    async def record_form(model, form):
        env.learned.append(form)

    async def hardware():
        ram_mb, devices = env.ram_mb, ((env.kind, env.kind, env.ram_mb),)
        return MachineSpec(devices=devices, ram_mb=ram_mb, free_ram_mb=ram_mb, disk_free_mb=10**6)

    def reopen():
        return ModelManager(
            models=env.models, downloads=env.hub, pool=env.device, owner_config=env.owner_config,
            measurements=SimpleNamespace(record_measurement=record, record_capabilities=record_form),
            store=env.store, rates=Rates(),
            progress_bus=env.events, sample_image=lambda: Media(b"a picture", "image/png"), machine_spec=hardware,
            wake=env.woken_jobs.append, extra_repos=env.extra_repos,
        )  # fmt: skip

    env.events, env.extra_repos, env.reopen = ProgressBus(), (), reopen
    env.manager = reopen()
    return env


async def finished(env, name="fox", **how):
    installation = await env.manager.use_model(name, **{"licence_accepted": True, **how})
    await installation.task
    return installation


def settings_of(env, name):
    from bot.models import ModelSettings

    read = read_settings({}, model_type=ModelSettings, files=[env.config], environ={})
    return read["models"][name]


# ---------------------------------------------------------------- terms


async def test_terms_say_what_it_takes(env):
    terms = await env.manager.get_terms("fox")

    assert (terms.licences, terms.requires_licence, terms.missing_bytes) == (("fox-1.0",), True, 100 * MB)


async def test_the_hubs_licence_is_used_if_the_settings_have_none(env):
    env.models.add_preset(replace(PRESET, name="owl", licence=""))

    assert (await env.manager.get_terms("owl")).licences == ("apache-2.0",)


async def test_owners_read_before_the_download_what_would_stay_loaded(env):
    env.models.add_model(make_model(name="owl", tasks=(TEXT_TO_IMAGE,), repo="org/owl", ram_mb=2000))
    terms = await env.manager.get_terms("fox")
    env.ram_mb = 4000
    crowded = await env.manager.get_terms("fox")

    (line,) = terms_body(terms)["together"]
    assert line.startswith("These models stay loaded together on cpu: fox (1.0 GiB); owl (2.0 GiB).")
    assert line in admin_texts.format_terms(terms).splitlines()
    assert line in format_terms(terms_body(terms))
    assert terms_body(crowded)["together"][-1] == "Loaded on request, in place of another: owl."


async def test_a_starter_asks_no_hub_and_no_licence(env):
    terms = await env.manager.get_terms("starter")

    assert not terms.requires_licence
    assert env.hub.inspected == []


async def test_an_unknown_name_is_answered_with_the_most_similar(env):
    with pytest.raises(ModelRefused) as refused:
        await env.manager.get_terms("foks")
    assert (refused.value.problem, refused.value.detail) == ("unknown", "fox")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda env: setattr(env.hub, "free", 100 * MB + RESERVED_DISK_BYTES - 1), "disk"),
        (lambda env: setattr(env, "ram_mb", 500), "memory"),
    ],
)
async def test_an_unusable_model_is_refused_before_the_download(env, change, problem):
    change(env)

    with pytest.raises(ModelRefused) as refused:
        await env.manager.use_model("fox", licence_accepted=True)
    assert refused.value.problem == problem
    assert env.models.get("fox") is None
    assert env.hub.downloaded == []


async def test_a_licence_that_was_not_accepted_is_asked_for(env):
    with pytest.raises(ModelRefused) as refused:
        await env.manager.use_model("fox")
    assert (refused.value.problem, refused.value.detail) == ("licence", "fox-1.0")


async def test_an_owner_may_try_what_is_not_expected_to_fit(env):
    env.ram_mb = 500

    assert (await finished(env, force=True)).error == ""


async def test_a_task_that_it_cannot_do_is_refused(env):
    with pytest.raises(ModelRefused) as refused:
        await env.manager.use_model("fox", licence_accepted=True, tasks=[IMAGE_TO_TEXT])
    assert refused.value.problem == "task"


# ---------------------------------------------------------------- using


async def test_a_model_is_fetched_tried_and_then_the_default_without_a_restart(env):
    installation = await finished(env)

    assert installation.error == ""
    assert env.hub.downloaded == ["org/fox"]
    [trial] = installation.smoke_tests
    assert trial.image == Media(b"png", "image/png")
    [task] = env.device.tasks
    assert (task.model.revision, task.is_urgent, task.is_exclusive, task.is_trial) == (COMMIT, True, True, True)
    assert env.models.default_for(TEXT_TO_IMAGE).name == "fox"
    assert env.models.default_for(IMAGE_TO_TEXT).name == "starter"
    assert env.device.known == ["fox", "starter"]
    assert env.models.get("fox").known_samplers == ("euler",)
    assert env.woken_jobs


async def test_a_trial_whose_second_run_in_bfloat16_ends_the_process_is_made_once_more(env):
    env.device.error, env.device.measured = WorkerLost(was_alone=True, detail="killed"), FORMAT
    installation = await finished(env)

    assert installation.error == ""
    assert len({task.id for task in env.device.tasks}) == 2
    assert env.models.default_for(TEXT_TO_IMAGE).name == "fox"


async def test_a_trial_whose_first_run_ends_the_process_is_refused(env):
    env.device.error, env.device.measured = WorkerLost(was_alone=True, detail="killed"), "load"
    installation = await finished(env)

    assert "Fox XL" in installation.error
    assert len(env.device.tasks) == 1


async def test_the_choice_outlives_a_restart(env):
    env.config.write_text('# mine\n[models.fox]\nrepo = "org/fox"\ntasks = ["text-to-image"]\nsteps = 3\n')

    await finished(env)

    kept = settings_of(env, "fox")
    assert (kept.enabled, kept.revision, kept.default_for, kept.steps) == (True, COMMIT, (TEXT_TO_IMAGE,), 3)
    assert env.config.read_text().startswith("# mine")


async def test_the_last_enabled_model_is_also_the_default_in_the_file(env):
    owl = replace(PRESET, name="owl", repo="org/owl")
    env.models.add_preset(owl)
    env.config.write_text("".join(f'[models.{name}]\nrepo = "r"\ntasks = []\n' for name in ("fox", "owl")))

    await finished(env)
    await finished(env, "owl")

    assert settings_of(env, "owl").default_for == (TEXT_TO_IMAGE,)
    assert settings_of(env, "fox").default_for == ()
    assert env.models.default_for(TEXT_TO_IMAGE).name == "owl"


async def test_a_demo_that_was_the_default_before_is_none_after_a_restart_either(env):
    starter = '[models.starter]\nrepo = "r"\ntasks = []\ndefault_for = ["image-to-image", "image-to-text"]\n'
    env.config.write_text(f'{starter}[models.fox]\nrepo = "r"\ntasks = []\n')

    await finished(env)

    assert settings_of(env, "starter").default_for == (IMAGE_TO_TEXT,)
    assert settings_of(env, "fox").default_for == (TEXT_TO_IMAGE,)


async def test_one_model_may_answer_and_another_caption(env):
    for name in ("see", "answer"):
        env.models.add_preset(replace(PRESET, name=name, tasks=SEEING, repo=f"org/{name}"))

    await finished(env, "see", tasks=[IMAGE_TO_TEXT])
    await finished(env, "answer", tasks=[VISUAL_QUESTION_ANSWERING])

    assert env.models.default_for(IMAGE_TO_TEXT).name == "see"
    assert env.models.default_for(VISUAL_QUESTION_ANSWERING).name == "answer"
    assert [task.task for task in env.device.tasks] == [*SEEING] * 2


async def test_what_is_here_already_is_not_fetched_again(env):
    env.hub.missing = False

    assert (await finished(env)).error == ""
    assert env.hub.downloaded == []


async def test_its_loras_and_the_classifier_come_with_it(env):
    env.extra_repos = (RepoRef(repo="org/judge"),)
    env.manager = env.reopen()
    env.models.add_preset(replace(PRESET, loras=("org/lcm",)))

    await finished(env)

    assert env.hub.downloaded == ["org/fox", "org/lcm", "org/judge"]


def test_of_a_repo_with_several_loras_one_file_is_fetched_and_a_file_here_is_not():
    wanted = replace(PRESET, loras=("org/fast/sub/four.safetensors", "/loras/ink.safetensors"))

    assert required_repos(wanted)[1:] == [RepoRef(repo="org/fast", file="sub/four.safetensors")]


async def test_only_fetching_changes_nothing_else(env):
    installation = await finished(env, download_only=True)

    assert (installation.error, installation.is_finished) == ("", True)
    assert env.hub.downloaded == ["org/fox"]
    assert env.models.get("fox") is None
    assert not env.config.exists()


async def test_a_second_concurrent_installation_is_refused(env):
    env.hub.go_on.clear()
    first = await env.manager.use_model("fox", licence_accepted=True)

    with pytest.raises(ModelRefused) as refused:
        await env.manager.use_model("fox", licence_accepted=True)
    assert refused.value.problem == "arriving"
    env.hub.go_on.set()
    await first.task


# ---------------------------------------------------------------- failing


@pytest.mark.parametrize(
    "error", [DownloadFailed("org/fox", "stalled"), ModelRefused("fox", "kind", detail="x"), KeyError("boo")]
)
async def test_when_fetching_fails_everything_stays_as_it_was(env, error):
    env.hub.errors["download"] = error
    job = make_job(model="fox")
    env.store.queued.append(job)

    installation = await finished(env)

    assert installation.error.endswith(".")
    assert "boo" not in installation.error
    assert env.models.get("fox") is None
    assert env.models.find("fox") == PRESET
    assert env.models.default_for(TEXT_TO_IMAGE).name == "starter"
    [(failed, reason)] = env.store.failed
    assert failed.id == job.id
    assert "weren't charged" in reason.message
    assert not env.config.exists()


async def test_when_the_trial_fails_the_old_model_stays_and_the_owner_reads_why(env):
    env.device.error = EngineError("the weights are all zero\nand more")

    installation = await finished(env)

    assert "the weights are all zero." in installation.error
    assert env.models.default_for(TEXT_TO_IMAGE).name == "starter"
    assert env.device.known == ["starter"]


async def test_a_model_in_use_survives_that_a_newer_commit_fails(env):
    await finished(env)
    env.device.error = EngineError("broken")

    assert (await finished(env)).error
    assert env.models.default_for(TEXT_TO_IMAGE).name == "fox"
    assert env.device.known == ["fox", "starter"]


async def test_settings_that_cannot_be_written_fail_the_switch(env):
    env.config.mkdir()

    installation = await finished(env)

    assert "cannot be changed" in installation.error
    assert env.models.default_for(TEXT_TO_IMAGE).name == "starter"


async def test_it_can_be_given_up(env):
    env.hub.go_on.clear()
    installation = await env.manager.use_model("fox", licence_accepted=True)

    await env.manager.cancel_install("fox")

    assert installation.is_finished
    assert installation.error.startswith("Cancelled.")
    assert env.models.get("fox") is None
    with pytest.raises(ModelRefused):
        await env.manager.cancel_install("fox")


# ---------------------------------------------------------------- while it comes


async def test_jobs_may_request_a_model_that_is_being_installed_and_see_its_progress(env):
    env.hub.go_on.clear()
    installation = await env.manager.use_model("fox", licence_accepted=True)
    job = make_job(model="fox")
    env.store.queued.append(job)

    with env.events.follow_job(job.id) as follower:
        await env.manager.wait_for_change(installation)
        _, progress = await asyncio.wait_for(follower.next(), 5)

    assert progress.phase == "waiting"
    assert env.models.install_progress("fox") == InstallProgress(
        stage="downloading", done=40 * MB, total=100 * MB, rate=20.0 * MB, eta_s=3.0
    )
    assert env.models.get("fox") is not None
    assert env.models.default_for(TEXT_TO_IMAGE).name == "starter"
    env.hub.go_on.set()
    await installation.task
    assert env.models.install_progress("fox") is None


async def test_a_shutdown_interrupts_an_installation_and_the_next_start_resumes_it(env):
    env.hub.go_on.clear()
    await env.manager.use_model("fox", licence_accepted=True)
    await env.manager.close()
    env.models = ModelRegistry({"starter": STARTER, "fox": PRESET})
    env.hub.go_on.set()

    env.owner_config.restore_pending(env.models)
    assert env.models.install_progress("fox") is not None
    env.manager = env.reopen()
    await env.manager.resume_installs()
    await env.manager.status("fox").task

    assert env.models.default_for(TEXT_TO_IMAGE).name == "fox"
    assert env.owner_config.pending_installs() == []


async def test_an_installation_that_cannot_be_resumed_is_abandoned(env):
    env.owner_config.set_pending_install("fox", [TEXT_TO_IMAGE])
    env.owner_config.set_pending_install("gone", [TEXT_TO_IMAGE])
    env.owner_config.restore_pending(env.models)
    env.hub.errors["inspect_repo"] = DownloadFailed("org/fox", "not_found", url="http://hub/org/fox")

    await env.manager.resume_installs()

    assert env.models.get("fox") is None
    assert env.owner_config.pending_installs() == []


# ---------------------------------------------------------------- adding and removing


@pytest.fixture
def catalogue(env):
    return ModelCatalogue(
        files=env.files, downloads=env.hub, registry=env.models, owner_config=env.owner_config, pool=env.device,
        store=env.store, wake=env.woken_jobs.append, cancel_install=env.manager.cancel_running_install,
    )  # fmt: skip


async def test_a_repo_of_the_hub_becomes_known(env, catalogue):
    env.files.kind = CheckpointInfo(kind="diffusers", tasks=(TEXT_TO_IMAGE,), defaults={"steps": 4, "width": 512})

    spec = await catalogue.add_model("Org/Owl-v2.1")

    assert (spec.name, spec.repo, spec.steps, spec.licence, spec.download_mb) == (
        "owl-v2-1", "Org/Owl-v2.1", 4, "apache-2.0", 100,
    )  # fmt: skip
    assert env.models.get("owl-v2-1") is None
    assert settings_of(env, "owl-v2-1").enabled is False
    assert (await finished(env, "owl-v2-1")).error == ""


async def test_a_folder_and_a_whole_model_in_one_file_become_known(env, catalogue, tmp_path):
    folder = tmp_path / "My Model"
    folder.mkdir()
    (folder / "all.safetensors").write_bytes(b"x")
    env.files.kind = CheckpointInfo(kind="diffusers", tasks=(TEXT_TO_IMAGE,))

    one = await catalogue.add_model(str(folder), name="Mine")
    assert (one.name, one.repo, one.is_local) == ("mine", str(folder), True)

    env.files.kind = CheckpointInfo(kind="single-file", family="sd15", tasks=(TEXT_TO_IMAGE,), defaults={"steps": 25})
    all_of_it = await catalogue.add_model(str(folder / "all.safetensors"))
    assert (all_of_it.name, all_of_it.repo, all_of_it.steps) == ("all", str(folder / "all.safetensors"), 25)
    assert (await finished(env, "all")).error == ""
    assert env.hub.downloaded == []

    env.files.kind = CheckpointInfo(kind="unknown", reason="single file of Stable Diffusion 2")
    with pytest.raises(ModelRefused) as refused:
        await catalogue.add_model(str(folder / "all.safetensors"), name="two")
    assert (refused.value.problem, refused.value.detail) == ("kind", "single file of Stable Diffusion 2")


async def test_one_file_of_a_repo_may_be_the_whole_model(env, catalogue):
    env.files.kind = CheckpointInfo(kind="single-file", class_name="StableDiffusionPipeline", tasks=(TEXT_TO_IMAGE,))

    spec = await catalogue.add_model("org/owl", file="owl.safetensors")

    assert (spec.file, spec.repo) == ("owl.safetensors", "org/owl")
    assert (await finished(env, "owl")).error == ""
    assert {wanted.file for wanted in env.hub.inspected} == {"owl.safetensors"}
    assert settings_of(env, "owl").file == "owl.safetensors"


async def test_a_gguf_file_is_added_with_its_base_model(env, catalogue, tmp_path, monkeypatch):
    monkeypatch.setattr("bot.memory.format_check.has_gguf", lambda: True)
    path = tmp_path / "Quant.gguf"
    path.write_bytes(b"x")
    env.files.kind = CheckpointInfo(
        kind="gguf", tasks=(TEXT_TO_IMAGE,), prequantized="gguf", defaults={"base_model": "org/whole"}
    )

    spec = await catalogue.add_model(str(path))
    named = await catalogue.add_model(str(path), name="named", base_model="org/tuned")
    assert (spec.base_model, named.base_model, spec.is_local) == ("org/whole", "org/tuned", True)
    assert settings_of(env, "named").base_model == "org/tuned"
    assert (await finished(env, "quant")).error == ""

    assert [(ref.repo, ref.without_denoiser) for ref in env.hub.inspected] == [("org/whole", True)]
    assert env.hub.downloaded == ["org/whole"]
    assert settings_of(env, "quant").revision == ""


@pytest.mark.parametrize(
    ("defaults", "how", "library", "problem", "words"),
    [
        ({}, {}, True, "base_model", ""),
        ({"base_model": "org/whole"}, {}, False, "weights", "extra `gguf`"),
        ({"base_model": "org/whole"}, {"weights": "fp8"}, True, "weights", "cannot change a denoiser"),
    ],
)
async def test_a_gguf_file_that_cannot_be_used_is_refused_when_it_is_added(
    env, catalogue, tmp_path, monkeypatch, defaults, how, library, problem, words
):
    monkeypatch.setattr("bot.memory.format_check.has_gguf", lambda: library)
    path = tmp_path / "quant.gguf"
    path.write_bytes(b"x")
    env.files.kind = CheckpointInfo(kind="gguf", tasks=(TEXT_TO_IMAGE,), prequantized="gguf", defaults=defaults)

    with pytest.raises(ModelRefused) as refused:
        await catalogue.add_model(str(path), **how)

    assert refused.value.problem == problem
    assert words in refused.value.detail
    assert env.models.find("quant") is None


async def test_weights_in_4_bits_need_a_denoiser_that_has_them(env, catalogue):
    env.files.kind = CheckpointInfo(kind="diffusers", tasks=(TEXT_TO_IMAGE,))

    with pytest.raises(ModelRefused) as refused:
        await catalogue.add_model("org/owl", weights="4bit")
    assert "add a .gguf file" in refused.value.detail
    assert (await catalogue.add_model("org/owl", weights="fp8")).quantize == "fp8"


async def test_svdquant_is_added_and_installed_only_once_its_kernels_are_allowed(env, catalogue):
    env.hub.prequantized = "svdquant"
    env.files.kind = CheckpointInfo(kind="diffusers", tasks=(TEXT_TO_IMAGE,))
    spec = await catalogue.add_model("org/owl")

    with pytest.raises(ModelRefused) as refused:
        await env.manager.use_model("owl", licence_accepted=True)
    assert "allow_hub_kernels = true" in refused.value.detail
    assert env.hub.downloaded == []
    allowed = required_repos(replace(spec, allow_hub_kernels=True))
    assert [ref.repo for ref in allowed if ref.is_kernel] == [KERNEL_REPO]


@pytest.mark.parametrize(
    ("source", "how", "problem"),
    [
        ("/nowhere/at/all", {}, "no_file"),
        ("/nowhere/easynegative.pt", {}, "format"),
        ("/nowhere/Model.CKPT", {}, "format"),
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


@pytest.mark.parametrize("kind", ["file", "folder", "parent", "long", "unknown home", "not a model file"])
async def test_a_path_that_may_not_be_read_is_answered_like_a_missing_one(catalogue, tmp_path, monkeypatch, kind):
    (tmp_path / "there.safetensors").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("private")
    source = {
        "file": str(tmp_path / "there.safetensors"),
        "folder": str(tmp_path / "folder"),
        "parent": str(tmp_path / "folder" / "inside.safetensors"),
        "long": f"/{'x' * 300}",
        "unknown home": "~nobody-of-this-name/model",
        "not a model file": str(tmp_path / "notes.txt"),
    }[kind]
    forbid(monkeypatch, (tmp_path / "there.safetensors", tmp_path / "folder"))

    with pytest.raises(ModelRefused) as refused:
        await catalogue.add_model(source)
    assert (refused.value.model, refused.value.problem, refused.value.detail) == (source[:80], "no_file", "")


def forbid(monkeypatch, paths):
    """What a user without rights sees; the tests may run as root."""
    stat, access = os.stat, os.access

    def refuse_within(path, *args, **more):
        if any(one in Path(path).parents for one in paths):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return stat(path, *args, **more)

    monkeypatch.setattr(os, "stat", refuse_within)
    monkeypatch.setattr(os, "access", lambda path, mode, **more: Path(path) not in paths and access(path, mode, **more))


async def test_a_lora_is_kept_and_listed_and_dropped(env, catalogue, tmp_path):
    path = tmp_path / "style.safetensors"
    path.write_bytes(b"lora")
    env.files.kind = CheckpointInfo(kind="lora", family="sd15")

    assert (await catalogue.add_model(str(path))).name == "style"
    with pytest.raises(ModelRefused):
        await catalogue.add_model(str(path))
    assert await catalogue.remove_model("style") == 7
    assert env.files.list_addons() == []


async def test_a_lora_is_added_and_removed_by_its_files_name(env, catalogue, tmp_path):
    path = tmp_path / "Add_Detail v1.5.safetensors"
    path.write_bytes(b"lora")
    env.files.kind = CheckpointInfo(kind="lora", family="sd15")

    added = await catalogue.add_model(str(path))

    assert (added.name, added.spellings) == ("add-detail-v1-5", ("Add_Detail v1.5",))
    assert await catalogue.remove_model("Add_Detail v1.5") == 7


async def test_a_lora_that_cannot_be_computed_is_refused_with_the_reason(env, catalogue, tmp_path):
    path = tmp_path / "style.safetensors"
    path.write_bytes(b"lora")
    env.files.kind = CheckpointInfo(kind="lora", reason="uses OFT, which Easel does not compute")

    with pytest.raises(ModelRefused) as refused:
        await catalogue.add_model(str(path))

    assert error_texts.explain(refused.value) == "style cannot be used: it uses OFT, which Easel does not compute."
    assert env.files.list_addons() == []


async def test_a_lora_of_the_hub_is_fetched_and_kept(env, catalogue, tmp_path):
    env.hub.kind, env.files.place = "", tmp_path
    env.files.kind = CheckpointInfo(kind="lora", family="sdxl")

    kept = await catalogue.add_model("org/style", file="style.safetensors")

    assert (kept.name, kept.kind, kept.family) == ("style", "lora", "sdxl")
    assert env.hub.downloaded == ["org/style"]
    env.hub.errors["download"] = StorageFull(free_mb=1024, need_mb=2048)
    with pytest.raises(ModelRefused) as refused:
        await catalogue.add_model("org/other")
    assert (refused.value.problem, refused.value.detail) == ("disk", "2.0 GiB on the disk, 1.0 GiB are free")


async def test_a_lora_of_the_hub_that_is_refused_is_not_kept(env, catalogue, tmp_path):
    env.hub.kind, env.files.place = "", tmp_path
    env.files.kind = CheckpointInfo(kind="unknown")

    with pytest.raises(ModelRefused):
        await catalogue.add_model("org/style", file="style.safetensors")

    assert (env.hub.downloaded, env.hub.removed) == (["org/style"], ["org/style"])


async def test_a_removed_preset_can_be_chosen_again_and_its_jobs_are_refunded(env, catalogue):
    await finished(env)
    env.store.queued.append(make_job(model="fox"))

    assert await catalogue.remove_model("fox") == 100 * MB

    assert env.models.get("fox") is None
    assert env.models.find("fox") == PRESET
    assert env.hub.removed == ["org/fox"]
    assert env.device.known == ["starter"]
    assert len(env.store.failed) == 1
    assert "fox" not in env.config.read_text()


async def test_files_that_another_model_needs_stay(env, catalogue):
    await finished(env)
    env.models.add_preset(replace(PRESET, name="fox-small"))
    await finished(env, "fox-small")

    assert await catalogue.remove_model("fox-small") == 0
    assert env.hub.removed == []


async def test_starters_stay(catalogue):
    with pytest.raises(ModelRefused) as refused:
        await catalogue.remove_model("starter")
    assert refused.value.problem == "starter"


UPSCALER = CheckpointInfo(kind="upscaler", class_name="RRDBNet", tasks=(IMAGE_UPSCALING,), defaults={"width": 1024})


async def test_an_upscaler_in_pytorchs_format_is_converted_and_added(env, catalogue, tmp_path):
    env.files.kind = UPSCALER
    (tmp_path / "4x Ultra.pth").write_bytes(b"pickle")

    added = await catalogue.add_model(str(tmp_path / "4x Ultra.pth"))

    assert (added.name, added.tasks, added.width) == ("4x-ultra", (IMAGE_UPSCALING,), 1024)
    assert added.repo == str(env.files.downloads / "4x Ultra.safetensors")
    assert env.files.converted == [tmp_path / "4x Ultra.pth"]


async def test_nothing_is_converted_under_a_name_that_is_taken(env, catalogue, tmp_path):
    (tmp_path / "fox.pth").write_bytes(b"pickle")

    with pytest.raises(ModelRefused) as refused:
        await catalogue.add_model(str(tmp_path / "fox.pth"), name="fox")

    assert (refused.value.problem, env.files.converted) == ("taken", [])


async def test_an_upscaler_of_one_file_on_the_hub_becomes_a_model(env, catalogue, tmp_path):
    env.files.kind, env.files.place, env.hub.kind = UPSCALER, tmp_path, ""

    added = await catalogue.add_model("org/upscaler", file="model.safetensors")

    assert (added.name, added.repo, added.file) == ("upscaler", "org/upscaler", "model.safetensors")
    assert (added.licence, added.download_mb) == ("apache-2.0", 100)


async def test_a_link_whose_target_has_no_ending_is_added_by_its_own_name(env, catalogue, tmp_path, monkeypatch):
    monkeypatch.setattr("bot.memory.format_check.has_gguf", lambda: True)
    blob, link = tmp_path / ("b" * 64), tmp_path / "Füchse 2.gguf"
    blob.write_bytes(b"x")
    link.symlink_to(blob)
    defaults = {"base_model": "org/whole"}
    env.files.kind = CheckpointInfo(kind="gguf", tasks=(TEXT_TO_IMAGE,), prequantized="gguf", defaults=defaults)

    added = await catalogue.add_model(str(link))

    assert (added.name, added.repo) == ("f-chse-2", str(link))
