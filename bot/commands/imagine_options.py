"""The options of `imagine` and of the commands that are like it."""

from bot.commands.adapter_option import make_adapter_option
from bot.commands.best_of import MAX_BEST
from bot.i18n import N_
from bot.options import MAX_PROMPT, MAX_SEED, OptionSpec
from bot.samplers import SAMPLERS, SCHEDULES, spell_sampler

DRAWING: tuple[OptionSpec, ...] = (
    OptionSpec(
        name="prompt",
        kind=str,
        help=N_("What to draw"),
        maximum=MAX_PROMPT,
        is_required=True,
        is_main=True,
    ),
    OptionSpec(
        name="negative_prompt",
        kind=str,
        help=N_("What to avoid"),
        aliases=("negative",),
        maximum=MAX_PROMPT,
        default="",
    ),
    OptionSpec(
        name="seed",
        kind=int,
        help=N_("Random seed; the same seed gives the same picture (default: random)"),
        minimum=0,
        maximum=MAX_SEED,
    ),
    OptionSpec(name="count", kind=int, help=N_("How many pictures"), minimum=1, maximum=4, default=1),
    OptionSpec(
        name="best",
        kind=int,
        help=N_("Make this many pictures, and show those that match the prompt best first"),
        minimum=2,
        maximum=MAX_BEST,
    ),
    OptionSpec(
        name="steps",
        kind=int,
        help=N_("Denoising steps (default: the model's)"),
        minimum=1,
        maximum=150,
    ),
    OptionSpec(
        name="guidance_scale",
        kind=float,
        help=N_("Guidance scale: how closely to follow the prompt (default: the model's)"),
        aliases=("guidance",),
        minimum=0,
        maximum=30,
    ),
    OptionSpec(
        name="width",
        kind=int,
        help=N_("Width in pixels (default: the model's)"),
        minimum=8,
        maximum=4096,
        is_advanced=True,
    ),
    OptionSpec(
        name="height",
        kind=int,
        help=N_("Height in pixels (default: the model's)"),
        minimum=8,
        maximum=4096,
        is_advanced=True,
    ),
    OptionSpec(
        name="size",
        kind=str,
        help=N_("WIDTHxHEIGHT in pixels, instead of width and height"),
        maximum=20,
    ),
    OptionSpec(name="aspect", kind=str, help=N_("Aspect ratio WIDTH:HEIGHT, at the model's pixel area"), maximum=20),
    OptionSpec(
        name="sampler",
        kind=str,
        help=N_("Sampler (default: the model's)"),
        choices=SAMPLERS,
        spell=spell_sampler,
        is_advanced=True,
    ),
    OptionSpec(
        name="strength",
        kind=float,
        help=N_("Denoising strength, 0 to 1: how much to change the input image"),
        minimum=0.01,
        maximum=1,
    ),
    OptionSpec(name="style", kind=str, help=N_("A style from the owner's list"), maximum=60),
    OptionSpec(
        name="model",
        kind=str,
        help=N_("Model (default: the first that supports this)"),
        maximum=60,
    ),
)

CONTROLLING: tuple[OptionSpec, ...] = (
    OptionSpec(name="region", kind=str, help=N_("Words for the part of the picture to repaint"), maximum=200),
    OptionSpec(name="keep", kind=bool, help=N_("Repaint everything but the region"), default=False, is_advanced=True),
    OptionSpec(
        name="inpaint_area",
        kind=str,
        help=N_("Draw the masked part alone, enlarged, or the whole picture (default: masked, unless a size is given)"),
        choices=("masked", "whole"),
        is_advanced=True,
    ),
    OptionSpec(
        name="detail",
        kind=str,
        help=N_("Words, separated by commas, for parts to remake enlarged, such as face,hands"),
        maximum=200,
        is_advanced=True,
    ),
    OptionSpec(
        name="enhance",
        kind=bool,
        help=N_("Have a model make the prompt richer first"),
        default=False,
        is_advanced=True,
    ),
    OptionSpec(
        name="hires",
        kind=float,
        help=N_("Enlarge the picture by this factor and refine it (hires fix)"),
        minimum=1.1,
        maximum=4,
    ),
    OptionSpec(
        name="variation_seed",
        kind=int,
        help=N_("Seed of a second noise that is mixed in"),
        minimum=0,
        maximum=MAX_SEED,
        is_advanced=True,
    ),
    OptionSpec(
        name="variation_strength",
        kind=float,
        help=N_("How much of the variation seed's noise is mixed in, 0 to 1"),
        minimum=0,
        maximum=1,
        is_advanced=True,
    ),
    OptionSpec(
        name="guidance_rescale",
        kind=float,
        help=N_("CFG rescale, 0 to 1: keeps a high guidance scale from overexposing"),
        minimum=0,
        maximum=1,
        is_advanced=True,
    ),
    OptionSpec(
        name="clip_skip",
        kind=int,
        help=N_("Clip skip, as AUTOMATIC1111 counts: 1 uses all layers of the text encoder, 2 leaves out the last"),
        minimum=1,
        maximum=12,
        is_advanced=True,
    ),
    OptionSpec(
        name="tiling", kind=bool, help=N_("Make a picture that repeats without seams"), default=False, is_advanced=True
    ),
    OptionSpec(
        name="schedule",
        kind=str,
        help=N_("Sigma schedule (default: the sampler's)"),
        choices=SCHEDULES,
        is_advanced=True,
    ),
    make_adapter_option(is_advanced=True),
)
"""A request has these options only if they were given; see `Imagine.fill_options`."""
