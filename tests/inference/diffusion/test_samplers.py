"""There is one list of samplers: each has a scheduler class, and every alias leads to one of them."""

from inspect import isclass
from typing import Any

import diffusers
import numpy
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
)
from mpmath import betainc, mp  # type: ignore[import-untyped]

from bot.errors import InvalidOption
from bot.samplers import SAMPLER_ALIASES, SAMPLERS, SCHEDULES, automatic_schedule, read_sampler, read_schedule
from inference.diffusion.beta_schedule import beta_quantiles
from inference.diffusion.samplers import SCHEDULERS, Samplers

pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


@pytest.fixture
def samplers():
    """Of a Stable Diffusion model."""
    return Samplers(DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1))


def test_each_sampler_has_a_scheduler_class():
    assert tuple(SCHEDULERS) == SAMPLERS


@pytest.mark.parametrize("class_name", SCHEDULERS.values())
def test_each_scheduler_class_is_one_of_diffusers(class_name):
    assert isclass(getattr(diffusers, class_name))


def test_every_alias_leads_to_a_sampler():
    assert set(SAMPLER_ALIASES.values()) <= set(SAMPLERS)


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("DPM++ 2M Karras", ("dpmpp_2m", "karras")),
        ("DPM++ 2M SDE Exponential", ("dpmpp_2m_sde", "exponential")),
        ("DPM++ 3M SDE", ("dpmpp_3m_sde", "")),
        ("DPM2 a Karras", ("dpm2_a", "karras")),
        ("dpmpp_2m_sde_gpu", ("dpmpp_2m_sde", "")),
        ("dpmpp_2m_sgm_uniform", ("dpmpp_2m", "sgm_uniform")),
        ("dpm_2_ancestral", ("dpm2_a", "")),
        ("euler_k", ("euler", "karras")),
        ("Euler a Automatic", ("euler_a", "")),
        ("SA Solver", ("sa_solver", "")),
        ("Restart", ("", "")),
    ],
)
def test_names_of_other_programs_are_read_with_their_schedule(written, read):
    assert read_sampler(written) == read


def test_every_name_of_a_sampler_is_read_as_itself():
    assert [read_sampler(name) for name in SAMPLERS] == [(name, "") for name in SAMPLERS]


def test_schedules_are_read_by_the_names_of_a1111():
    written = ("Karras", "Exponential", "Beta", "Simple", "SGM Uniform", "Automatic", "KL Optimal")

    assert [read_schedule(name) for name in written] == [*SCHEDULES, "", ""]
    assert automatic_schedule("dpmpp_2m") == "karras"
    assert automatic_schedule("euler") == ""


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("dpmpp_2m_sde", {"algorithm_type": "sde-dpmsolver++", "solver_order": 2, "solver_type": "midpoint"}),
        ("dpmpp_2m_sde_heun", {"algorithm_type": "sde-dpmsolver++", "solver_order": 2, "solver_type": "heun"}),
        ("dpmpp_3m", {"algorithm_type": "dpmsolver++", "solver_order": 3}),
        ("dpmpp_3m_sde", {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}),
    ],
)
def test_samplers_of_one_class_differ_in_their_settings(samplers, name, config):
    made = samplers.create_scheduler(name)

    assert {setting: made.config[setting] for setting in config} == config
    assert Samplers(made).default == name


def test_a_models_own_sampler_keeps_its_settings_and_does_not_leak_into_others():
    own = Samplers(DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++", solver_order=2))

    assert own.default == "dpmpp_2m_sde"
    assert own.create_scheduler("dpmpp_2m").config.algorithm_type == "dpmsolver++"


@pytest.mark.parametrize("schedule", [*SCHEDULES])
def test_a_schedule_is_diffusers_own_where_it_needs_no_scipy(samplers, schedule):
    known: dict[str, dict[str, Any]] = {
        "karras": {"use_karras_sigmas": True},
        "exponential": {"use_exponential_sigmas": True, "timestep_spacing": "linspace"},
        "simple": {"timestep_spacing": "trailing"},
        "sgm_uniform": {"timestep_spacing": "trailing"},
    }
    settings = known.get(schedule, {"timestep_spacing": "linspace"})
    made = samplers.create_scheduler("euler", schedule)
    stock = EulerDiscreteScheduler.from_config(samplers.create_scheduler("ddim").config, **settings)
    made.set_timesteps(6)
    stock.set_timesteps(6)

    if schedule == "beta":
        assert made.config.use_beta_sigmas
        assert torch.allclose(made.sigmas[[0, -2, -1]], stock.sigmas[[0, -2, -1]], rtol=1e-3)
        assert not torch.allclose(made.sigmas, stock.sigmas)
    else:
        assert torch.equal(made.sigmas, stock.sigmas)


def test_the_quantiles_of_the_beta_distribution_are_exact():
    mp.dps = 20
    shares = numpy.linspace(0, 1, 12)

    assert [float(betainc(0.6, 0.6, 0, float(x), regularized=True)) for x in beta_quantiles(shares)] == pytest.approx(
        shares, abs=1e-5
    )


def test_a_model_says_which_schedules_each_of_its_samplers_takes(samplers):
    assert samplers.schedules["euler"] == [*SCHEDULES]
    assert samplers.schedules["dpmpp_sde"] == ["karras", "exponential", "beta"]
    assert samplers.schedules["ddim"] == ["simple", "sgm_uniform"]
    assert Samplers(FlowMatchEulerDiscreteScheduler()).schedules == {
        "flow_euler": ["karras", "exponential", "beta", "simple"]
    }


def test_a_schedule_that_the_sampler_does_not_take_is_refused(samplers):
    with pytest.raises(InvalidOption) as refused:
        samplers.create_scheduler("ddim", "karras")

    assert (refused.value.option, refused.value.problem) == ("schedule", "sampler_choice")
    assert refused.value.allowed == "simple, sgm_uniform"


def test_every_sampler_steps_with_every_schedule_it_takes(samplers):
    for name, schedules in samplers.schedules.items():
        for schedule in ("", *schedules):
            scheduler = samplers.create_scheduler(name, schedule)
            scheduler.set_timesteps(4)
            sample = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(0)) * scheduler.init_noise_sigma
            for timestep in scheduler.timesteps:
                scheduler.scale_model_input(sample, timestep)
                sample = scheduler.step(sample * 0.1, timestep, sample)[0]
            assert sample.isfinite().all(), (name, schedule)


@pytest.mark.parametrize("name", ["dpmpp_2m", "unipc"])
def test_a_schedule_that_begins_with_equal_timesteps_makes_all_its_steps(name):
    own = DDIMScheduler(
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )
    scheduler = Samplers(own).create_scheduler(name, "beta")
    scheduler.set_timesteps(12)
    sample = torch.ones(1, 4, 2, 2)
    assert scheduler.timesteps[0] == scheduler.timesteps[1]

    for timestep in scheduler.timesteps:
        sample = scheduler.step(torch.zeros_like(sample), timestep, sample).prev_sample

    assert scheduler.step_index == 12
    assert torch.isfinite(sample).all()
