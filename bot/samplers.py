"""Sampler names: Easel's own, and those of other programs for the same samplers."""

from collections.abc import Mapping

SAMPLERS = (
    "ddim",
    "ddpm",
    "deis",
    "dpmpp_2m",
    "dpmpp_sde",
    "euler",
    "euler_a",
    "flow_euler",
    "heun",
    "ipndm",
    "lcm",
    "lms",
    "pndm",
    "unipc",
)
"""Every sampler; a model supports some of them. `inference.diffusion.samplers` maps them to scheduler classes."""

SAMPLER_ALIASES: Mapping[str, str] = {
    "euler a": "euler_a",
    "euler ancestral": "euler_a",
    "dpm++ 2m": "dpmpp_2m",
    "dpm++ sde": "dpmpp_sde",
    "dpmpp 2m": "dpmpp_2m",
    "dpmpp sde": "dpmpp_sde",
    "uni pc": "unipc",
    "uni pc bh2": "unipc",
    "plms": "pndm",
}
"""Names that A1111 and ComfyUI use, in lower case and with spaces for underscores."""

SCHEDULES = ("karras", "exponential", "beta", "simple", "sgm_uniform")
"""Sigma schedules, by the names that AUTOMATIC1111 and ComfyUI use."""
