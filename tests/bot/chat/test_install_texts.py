"""What those read who wait for a model, and what admins read of models."""

from dataclasses import replace

import pytest

from bot.chat import admin_texts
from bot.chat.texts import format_state, format_status
from bot.memory.fit import MachineSpec, estimate_fit
from bot.models import InstallProgress, ModelRegistry
from bot.ports import BuildRequest, Progress, PromptAddon, RowSpeed
from bot.usecases import Ticket
from bot.usecases.installations import Installation, InstallTerms, Optimization
from bot.usecases.model_execution import find_execution
from composition.settings import shipped_models
from tests.fakes import make_job, make_model
from tests.model_manager_fixture import FASTER

MB = 2**20
COMING = InstallProgress(stage="downloading", done=41 * MB, total=100 * MB, rate=1.0 * MB, eta_s=360.0)


def waiting(arrival, position=2):
    return Ticket(job=make_job(model="fox"), position=position, install_progress=arrival, title="FLUX.2 klein")


def test_who_waits_reads_how_far_the_model_is_and_where_they_stand():
    assert (
        format_state(waiting(COMING)) == "Downloading FLUX.2 klein: 41 %, about 6 min left. You are 2nd in the queue."
    )
    assert format_status(waiting(COMING), Progress(step=0, steps=0, phase="waiting")) == format_state(waiting(COMING))


@pytest.mark.parametrize(
    ("position", "place"),
    [(1, "1st"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (21, "21st")],
)
def test_places(position, place):
    assert format_state(waiting(COMING, position)).endswith(f"You are {place} in the queue.")


@pytest.mark.parametrize(
    ("arrival", "sentence"),
    [
        (InstallProgress(stage="downloading", done=1, total=4), "Downloading FLUX.2 klein: 25 %."),
        (InstallProgress(stage="downloading"), "Getting FLUX.2 klein ready."),
        (InstallProgress(stage="checking"), "Checking FLUX.2 klein."),
        (InstallProgress(stage="loading"), "Getting FLUX.2 klein ready."),
        (InstallProgress(stage="trying"), "Testing FLUX.2 klein."),
    ],
)
def test_stages(arrival, sentence):
    assert format_state(waiting(arrival, None)) == sentence


def test_an_admin_reads_every_model_and_what_each_preset_takes():
    models = ModelRegistry(shipped_models())
    hardware = MachineSpec(devices=(("cpu", "cpu", 16000),), ram_mb=16000, free_ram_mb=12000, disk_free_mb=10**6)
    fits = {spec.name: estimate_fit(spec, hardware) for spec in models.presets}
    models.add_model(next(spec for spec in models.presets if spec.name == "sdxl"))
    models.set_install_progress("sdxl", COMING)

    starter = models.require("starter-image")
    found = find_execution(replace(starter, backend="openvino"), [], lambda _: True)

    said = admin_texts.format_model_list(
        models, fits, [], [PromptAddon(name="style", kind="lora", family="sd15", size=7)], {"starter-image": found}
    )

    lines = said.splitlines()
    assert "sdxl: Downloading Stable Diffusion XL: 41 %, about 6 min left." in lines
    assert (
        "starter-image: text-to-image (default), image-to-image (default). Runs on torch. Its OpenVINO build is "
        "missing: /admin models optimize starter-image makes one."
    ) in lines
    assert "sd-turbo: SD-Turbo, 2.4 GiB, on the CPU, about 7 s, not for commercial use" in lines
    assert "flux2-klein-4b: FLUX.2 klein, 14.9 GiB, does not fit" in lines
    assert "style: lora sd15" in lines


def test_an_admin_reads_the_terms_and_how_to_accept_them():
    spec = shipped_models()["sd15-lcm"]
    hardware = MachineSpec(devices=(), ram_mb=16000, free_ram_mb=12000, disk_free_mb=10**6)

    said = admin_texts.format_terms(
        InstallTerms(spec=spec, fit=estimate_fit(spec, hardware), missing_bytes=2**30, free_bytes=2**33)
    )

    assert "1.0 GiB to download; 8.0 GiB are free." in said
    assert "Licence: LCM LoRA: openrail++" in said
    assert spec.licence_url in said
    assert said.endswith("/admin models use sd15-lcm --accept")


def optimization(report=FASTER, **changes):
    spec = make_model(name="fox", title="Fox XL")
    built = Optimization(request=BuildRequest(model=spec, backend="openvino"), report=report)
    for name, value in changes.items():
        setattr(built, name, value)
    return Installation(spec=spec, tasks=(), optimization=built, is_finished=True)


SLOWER = replace(FASTER, speeds=(RowSpeed(1, 0.1, 0.2),))
OPTIMIZATIONS = {
    "faster": (
        optimization(),
        "openvino runs Fox XL 1.5 times as fast as torch; pictures differ by at most 1 of 256 levels. To switch: "
        "/admin models optimize fox --accept",
    ),
    "applied": (
        optimization(is_applied=True),
        "Fox XL runs on openvino, 1.5 times as fast as on torch. To go back: /admin models torch fox",
    ),
    "slower": (
        optimization(SLOWER),
        "Fox XL stays on torch: openvino is not better on this machine (0.5 times as fast).",
    ),
    "back": (optimization(None), "Fox XL runs on torch."),
}


@pytest.mark.parametrize(("installation", "text"), OPTIMIZATIONS.values(), ids=OPTIMIZATIONS)
def test_what_was_compiled(installation, text):
    assert admin_texts.format_optimization(installation) == text


def test_what_is_being_compiled():
    running = optimization(None)
    running.is_finished = False

    assert admin_texts.format_optimization(running).endswith("serves on meanwhile. To see how far it is: /admin models")


def test_a_second_command_repeats_the_formats_of_the_first():
    built = optimization()
    built.optimization.request = replace(built.optimization.request, weights="8bit", precision="bfloat16")
    spec = shipped_models()["sd15-lcm"]
    terms = InstallTerms(
        spec=spec, fit=estimate_fit(spec, MachineSpec(devices=(), ram_mb=0, free_ram_mb=0, disk_free_mb=0))
    )

    assert admin_texts.format_optimization(built).endswith("fox --weights 8bit --precision bfloat16 --accept")
    assert admin_texts.format_terms(terms, formats={"weights": "fp8"}).endswith("sd15-lcm --weights fp8 --accept")
