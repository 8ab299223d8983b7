import pytest

from bot.commands import Caption, Imagine
from bot.jobs import ImageRef
from bot.models import IMPORT_S
from bot.ports import Measurement
from bot.queue.pricing import Rates, duration_s, estimate_s, price
from tests.fakes import make_model

MODEL = make_model(step_s=2.0, overhead_s=1.0, steps=10)


def make_measured(**overrides):
    plain = {
        "device": "cpu", "model": "fox-diffusion", "dtype": "float32", "shape": "512x512", "batch_size": 1,
        "what": "step", "seconds": 0.5,
    }  # fmt: skip
    return Measurement(**{**plain, **overrides})


def priced(rates, model=MODEL, images=(), **options):
    command = Imagine.from_options({"prompt": "a fox", **options}, images)
    return price(command, model, command.fill_options(model, 1), rates)


def lasting(rates, model, *, together, **options):
    command = Imagine.from_options({"prompt": "a fox", **options})
    return duration_s(command, model, command.fill_options(model, 1), rates, together=together)


def test_what_was_never_measured_costs_what_the_config_says():
    assert priced(Rates()) == 1.0 + 10 * 2.0


def test_importing_is_measured_for_a_device_and_loading_for_a_model():
    rates = Rates([make_measured(what="import", model="", shape="", seconds=11.0)], lambda: "cpu")
    rates.add_measurement(make_measured(what="import", model="", shape="", seconds=3.0, device="cuda:0"))
    rates.add_measurement(make_measured(what="load", shape="", seconds=2.0))

    assert (Rates().import_s(), rates.import_s(), rates.load_s(MODEL)) == (IMPORT_S, 11.0, 2.0)


def test_a_demo_model_is_free_but_has_a_duration():
    demo = make_model(demo=True, step_s=2.0, overhead_s=1.0, steps=10)
    command = Imagine.from_options({"prompt": "a fox"})
    options = command.fill_options(demo, 1)

    assert price(command, demo, options, Rates()) == 0.0
    assert estimate_s(command, demo, options, Rates()) == 21.0


def test_every_picture_costs_the_same():
    assert priced(Rates(), count=4) == 4 * priced(Rates())


def test_a_measured_size_overrules_the_config():
    assert priced(Rates([make_measured()])) == 1.0 + 10 * 0.5


def test_a_model_costs_what_was_measured_on_its_own_backend():
    rates = Rates([make_measured(), make_measured(seconds=0.2, backend="openvino")])
    compiled = MODEL.with_capabilities({"backend": "openvino"})

    assert priced(rates) == 1.0 + 10 * 0.5
    assert priced(rates, compiled) == 1.0 + 10 * 0.2
    assert priced(Rates([make_measured()]), compiled) == 1.0 + 10 * 0.5


def test_another_size_is_scaled_by_pixels_from_the_nearest_measured():
    rates = Rates([make_measured(), make_measured(shape="256x256", seconds=0.2)])

    assert priced(rates, width=256, height=128) == 1.0 + 10 * 0.1
    assert priced(rates, width=1024, height=512) == 1.0 + 10 * 1.0


def test_config_figures_are_also_scaled_by_pixels():
    assert priced(Rates(), width=256, height=256) == 1.0 + 10 * 0.5


def test_the_overhead_of_a_job_is_also_measured():
    assert priced(Rates([make_measured(what="job", seconds=3.0)])) == 3.0 + 10 * 2.0


def test_a_job_alone_costs_what_it_was_measured_alone_whatever_several_cost():
    assert priced(Rates([make_measured(), make_measured(batch_size=4, seconds=0.1)])) == 1.0 + 10 * 0.5


def test_steps_without_guidance_are_measured_apart():
    rates = Rates([make_measured(seconds=1.0), make_measured(what="step_unguided", seconds=0.6)])

    assert priced(rates, guidance_scale=5.0) == 1.0 + 10 * 1.0
    assert priced(rates, guidance_scale=1.0) == 1.0 + 10 * 0.6


def test_a_step_without_guidance_costs_at_most_what_a_guided_one_does():
    assert priced(Rates([make_measured(seconds=1.0)]), guidance_scale=0.0) == 1.0 + 10 * 1.0


def test_a_guided_step_is_two_rows_without_guidance():
    measured = [make_measured(what="step_unguided", batch_size=rows, seconds=s) for rows, s in ((1, 0.6), (2, 0.9))]

    assert (
        priced(Rates(measured), make_model(overhead_s=1.0, steps=10, capabilities={"rows": 8}), guidance_scale=5.0)
        == 10.0
    )


def test_what_only_several_together_were_measured_at_says_something_of_one_alone():
    one, four = priced(Rates([make_measured(batch_size=4, seconds=2.0)])), 1.0 + 10 * 2.0

    assert 1.0 + 10 * 0.5 <= one < four


def test_jobs_together_take_less_time_than_one_after_another():
    shared = make_model(step_s=2.0, overhead_s=1.0, steps=10, capabilities={"rows": 8})
    rates = Rates([make_measured(batch_size=rows, seconds=seconds) for rows, seconds in ((1, 0.5), (4, 1.0), (8, 4.0))])

    assert lasting(rates, shared, together=1) == 1.0 + 10 * 0.5
    assert lasting(rates, shared, together=4) == 4 * 1.0 + 10 * 1.0
    assert lasting(rates, shared, together=8) == 8 * 1.0 + 10 * 2.0, "in two passes of four, which is quicker"


def test_a_model_with_one_slot_runs_jobs_one_after_another():
    assert lasting(Rates([make_measured()]), MODEL, together=3) == 3 * (1.0 + 10 * 0.5)


def test_pictures_of_one_job_share_passes_but_each_is_paid():
    shared = make_model(step_s=2.0, overhead_s=1.0, steps=10, capabilities={"rows": 8})
    rates = Rates([make_measured(), make_measured(batch_size=4, seconds=1.0)])

    assert lasting(rates, shared, together=1, count=4) == 4 * 1.0 + 10 * 1.0
    assert priced(rates, shared, count=4) == 4 * (1.0 + 10 * 0.5)


def test_another_device_says_nothing_of_the_one_that_prices():
    assert priced(Rates([make_measured(device="cuda:1")], first_device=lambda: "cuda:0")) == priced(Rates())


def test_another_model_says_nothing_of_this_one():
    assert priced(Rates([make_measured(model="owl")])) == priced(Rates())


def test_what_is_learned_later_overrules():
    rates = Rates([make_measured()])

    rates.add_measurement(make_measured(seconds=0.7))

    assert priced(rates) == 8.0


@pytest.mark.parametrize("shape", ["", "0x0", "wide"])
def test_a_step_measured_without_a_size_is_ignored(shape):
    assert priced(Rates([make_measured(shape=shape)])) == priced(Rates())


@pytest.mark.parametrize("seconds", [float("nan"), float("inf"), -1.0])
def test_an_impossible_measure_is_ignored(seconds):
    assert priced(Rates([make_measured(seconds=seconds)])) == priced(Rates())


def test_text_costs_by_token_and_beam():
    command = Caption.from_options({"num_beams": 3, "max_new_tokens": 10}, (ImageRef("0"),))
    options = command.fill_options(MODEL, 1)

    assert price(command, MODEL, options, Rates()) == 1.0 + 30 * 2.0
    assert price(command, MODEL, options, Rates([make_measured(what="token", shape="", seconds=0.1)])) == 4.0


def test_steps_that_strength_skips_cost_nothing():
    assert priced(Rates(), images=(ImageRef("0"),), strength=0.5) == 1.0 + 5 * 2.0


def test_prices_are_whole_milliseconds():
    assert priced(Rates(), make_model(step_s=1 / 3, overhead_s=0.0, steps=1)) == 0.333
