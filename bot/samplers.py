"""Sampler and schedule names: Easel's own, and those of other programs for the same ones.

A schedule says how the noise levels of the steps are spread. Other programs write it behind the sampler's name, as in
"DPM++ 2M Karras", or beside it.
"""

from collections.abc import Mapping

SAMPLERS = (
    "ddim",
    "ddpm",
    "deis",
    "dpm2",
    "dpm2_a",
    "dpmpp_2m",
    "dpmpp_2m_sde",
    "dpmpp_2m_sde_heun",
    "dpmpp_3m",
    "dpmpp_3m_sde",
    "dpmpp_sde",
    "euler",
    "euler_a",
    "flow_euler",
    "heun",
    "ipndm",
    "lcm",
    "lms",
    "pndm",
    "sa_solver",
    "tcd",
    "unipc",
)
"""Every sampler; a model supports some of them. `inference.diffusion.samplers` maps them to scheduler classes."""

SAMPLER_NAMES: Mapping[str, str] = {
    "ddim": "DDIM",
    "ddpm": "DDPM",
    "deis": "DEIS",
    "dpm2": "DPM2",
    "dpm2_a": "DPM2 a",
    "dpmpp_2m": "DPM++ 2M",
    "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun",
    "dpmpp_3m": "DPM++ 3M",
    "dpmpp_3m_sde": "DPM++ 3M SDE",
    "dpmpp_sde": "DPM++ SDE",
    "euler": "Euler",
    "euler_a": "Euler a",
    "flow_euler": "Euler FlowMatch",
    "heun": "Heun",
    "ipndm": "IPNDM",
    "lcm": "LCM",
    "lms": "LMS",
    "pndm": "PLMS",
    "sa_solver": "SA Solver",
    "tcd": "TCD",
    "unipc": "UniPC",
}
"""How A1111 writes each sampler; where it lacks one, SD.Next."""

SAMPLER_ALIASES: Mapping[str, str] = {
    "euler a": "euler_a",
    "euler ancestral": "euler_a",
    "dpm2": "dpm2",
    "dpm 2": "dpm2",
    "kdpm2": "dpm2",
    "kdpm 2": "dpm2",
    "dpm2 a": "dpm2_a",
    "dpm2 ancestral": "dpm2_a",
    "dpm 2 ancestral": "dpm2_a",
    "kdpm2 a": "dpm2_a",
    "kdpm 2 a": "dpm2_a",
    "dpm++ 2m": "dpmpp_2m",
    "dpm++ 2m sde": "dpmpp_2m_sde",
    "dpm++ 2m sde heun": "dpmpp_2m_sde_heun",
    "dpm++ 3m": "dpmpp_3m",
    "dpm++ 3m sde": "dpmpp_3m_sde",
    "dpm++ sde": "dpmpp_sde",
    "dpmpp 2m": "dpmpp_2m",
    "dpmpp sde": "dpmpp_sde",
    "euler flowmatch": "flow_euler",
    "sa solver": "sa_solver",
    "uni pc": "unipc",
    "uni pc bh2": "unipc",
    "plms": "pndm",
}
"""Names that A1111, ComfyUI, InvokeAI and SD.Next use, in lower case and with spaces for underscores."""

SCHEDULES = ("karras", "exponential", "beta", "simple", "sgm_uniform")
"""Sigma schedules, by the names that AUTOMATIC1111 and ComfyUI use."""

SCHEDULE_TYPES: Mapping[str, str] = {
    "karras": "Karras",
    "exponential": "Exponential",
    "beta": "Beta",
    "simple": "Simple",
    "sgm_uniform": "SGM Uniform",
}
"""How A1111 writes each schedule."""

_SCHEDULE_NAMES: Mapping[str, str] = {
    **{name.replace("_", " "): name for name in SCHEDULES},
    "k": "karras",
    **dict.fromkeys(
        (
            *("polyexponential", "automatic", "normal", "ddim uniform", "uniform", "kl optimal", "align your steps"),
            *("ays", "turbo", "trailing", "substep", "gpu"),
        ),
        "",
    ),
}
"""What programs write behind a sampler's name, or as its schedule; "" for what is no schedule here."""

_USUAL_SCHEDULES = frozenset({"automatic", "normal", "ddim uniform", "uniform", "substep", "gpu"})
"""What a sampler does without any schedule, or no schedule at all."""

_AUTOMATIC: Mapping[str, str] = {
    **dict.fromkeys(("dpm2", "dpm2_a", "dpmpp_2m", "dpmpp_2m_sde", "dpmpp_2m_sde_heun", "dpmpp_sde"), "karras"),
    "dpmpp_3m_sde": "exponential",
}
"""The schedule that A1111 takes for a sampler where its person chose none.

Source: `modules/sd_samplers_kdiffusion.py`."""


def read_sampler(text: str) -> tuple[str, str]:
    """Easel's names of the sampler and of the schedule that a program has written behind it; "" for an unknown one."""
    plain = _plain(text.strip().removeprefix("sample_"))
    schedule = ""
    while plain not in SAMPLER_ALIASES:
        suffix = next((name for name in _SCHEDULE_NAMES if plain.endswith(f" {name}")), None)
        if suffix is None:
            break
        plain = plain.removesuffix(suffix).strip()
        schedule = schedule or _SCHEDULE_NAMES[suffix]
    name = plain.replace(" ", "_").replace("++", "pp")
    return SAMPLER_ALIASES.get(plain, name if name in SAMPLERS else ""), schedule


def spell_sampler(text: str) -> str:
    """A sampler as other programs name it, as "dpmpp_2m karras"; "" for an unknown one."""
    sampler, schedule = read_sampler(text)
    return f"{sampler} {schedule}".strip() if sampler else ""


def read_schedule(text: str) -> str:
    """Easel's name of a schedule; "" for an unknown one."""
    return _SCHEDULE_NAMES.get(_plain(text), "")


def find_missing_schedule(sampler: str, schedule: str) -> str:
    """The schedule that a program names behind its sampler or beside it, if Easel has none like it; else ""."""
    name = _plain(schedule)
    if name:
        return "" if _SCHEDULE_NAMES.get(name) or name in _USUAL_SCHEDULES else schedule
    written = _plain(sampler)
    unlike = (one for one, own in _SCHEDULE_NAMES.items() if not own and one not in _USUAL_SCHEDULES)
    return next((one for one in unlike if written.endswith(f" {one}")), "")


def automatic_schedule(sampler: str) -> str:
    """What A1111's schedule type "Automatic" means for the sampler; "" for the sampler's own."""
    return _AUTOMATIC.get(sampler, "")


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
