"""What those read who wait for a model, and what admins read of models."""

import pytest

from bot.chat import admin_texts
from bot.chat.texts import say_standing, say_state
from bot.memory.fit import Hardware, fit
from bot.models import ARRIVING, Arrival, Models
from bot.ports import Addition, Progress
from bot.usecases import Ticket
from bot.usecases.models import Terms
from composition.settings import shipped_models
from tests.fakes import make_job

MB = 2**20
COMING = Arrival(stage="downloading", done=41 * MB, total=100 * MB, rate=1.0 * MB, eta_s=360.0)


def waiting(arrival, position=2):
    return Ticket(job=make_job(model="fox"), position=position, arrival=arrival, title="FLUX.2 klein")


def test_who_waits_reads_how_far_the_model_is_and_where_they_stand():
    assert say_state(waiting(COMING)) == "Downloading FLUX.2 klein, 41 %, about 6 min. You are 2nd."
    assert say_standing(waiting(COMING), Progress(step=0, steps=0, note=ARRIVING)) == say_state(waiting(COMING))


@pytest.mark.parametrize(
    ("position", "place"),
    [(1, "1st"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (21, "21st")],
)
def test_places(position, place):
    assert say_state(waiting(COMING, position)).endswith(f"You are {place}.")


@pytest.mark.parametrize(
    ("arrival", "sentence"),
    [
        (Arrival(stage="downloading", done=1, total=4), "Downloading FLUX.2 klein, 25 %."),
        (Arrival(stage="downloading"), "Getting FLUX.2 klein ready."),
        (Arrival(stage="checking"), "Checking FLUX.2 klein."),
        (Arrival(stage="loading"), "Getting FLUX.2 klein ready."),
        (Arrival(stage="trying"), "Trying FLUX.2 klein."),
    ],
)
def test_stages(arrival, sentence):
    assert say_state(waiting(arrival, None)) == sentence


def test_an_admin_reads_every_model_and_what_each_preset_takes():
    models = Models(shipped_models())
    hardware = Hardware(devices=(("cpu", "cpu", 16000),), ram_mb=16000, free_ram_mb=12000, disk_free_mb=10**6)
    fits = {spec.name: fit(spec, hardware) for spec in models.presets}
    models.put(next(spec for spec in models.presets if spec.name == "sdxl"))
    models.arrives("sdxl", COMING)

    said = admin_texts.say_rows(models, fits, [], [Addition(name="style", kind="lora", family="sd15", size=7)])

    lines = said.splitlines()
    assert "sdxl: Downloading Stable Diffusion XL, 41 %, about 6 min." in lines
    assert "starter-image: text-to-image (default), image-to-image (default)" in lines
    assert "sd-turbo: SD-Turbo, 2.4 GiB, on the CPU, about 7 s, not for commercial use" in lines
    assert "flux2-klein-4b: FLUX.2 klein, 14.9 GiB, does not fit" in lines
    assert "style: lora sd15" in lines


def test_an_admin_reads_the_terms_and_how_to_accept_them():
    spec = shipped_models()["sd15-lcm"]
    hardware = Hardware(devices=(), ram_mb=16000, free_ram_mb=12000, disk_free_mb=10**6)

    said = admin_texts.say_terms(Terms(spec=spec, fits=fit(spec, hardware), missing=2**30, free=2**33))

    assert "1.0 GiB to fetch, 8.0 GiB are free." in said
    assert "Licence: LCM LoRA: openrail++" in said
    assert spec.licence_url in said
    assert said.endswith(admin_texts.ACCEPT_FIRST)
