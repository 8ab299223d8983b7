"""ADetailer's units as words for parts of the picture that are remade enlarged."""

from collections.abc import Mapping, Sequence
from typing import Any

from adapters.sdapi.fields import SdFields

_PARTS: Mapping[str, str] = {"face": "face", "hand": "hands", "person": "person", "eye": "eyes"}
"""What ADetailer's models find, by what their names contain."""
_BY_FLAG = (
    "ad_inpaint_width", "ad_inpaint_height", "ad_steps", "ad_cfg_scale", "ad_checkpoint", "ad_vae", "ad_sampler",
    "ad_scheduler", "ad_noise_multiplier", "ad_clip_skip",
)  # fmt: skip
"""Without a meaning unless a field `ad_use_...` is set, which is named then."""
_USUAL: Mapping[str, tuple[Any, ...] | None] = {
    "ad_confidence": (0.3,),
    "ad_mask_max_ratio": (1,),
    "ad_mask_filter_method": ("Area",),
    "ad_dilate_erode": (4,),
    "ad_mask_blur": (4,),
    "ad_denoising_strength": (0.4,),
    "ad_inpaint_only_masked": (True,),
    "ad_inpaint_only_masked_padding": (32,),
    "ad_controlnet_weight": (1,),
    "ad_controlnet_guidance_end": (1,),
    "is_api": None,
}
"""What clients send without being asked."""


def read_details(arguments: Sequence[Any], fields: SdFields) -> dict[str, Any]:
    """The option `detail` of ADetailer's arguments: up to two flags, the first of which switches it off, and units."""
    if arguments and arguments[0] is False:
        return {}
    words = []
    for number, values in enumerate(one for one in arguments if isinstance(one, dict)):
        name = str(values.get("ad_model") or "None").casefold()
        if name == "none" or values.get("ad_tab_enable") is False:
            continue
        found = next((word for part, word in _PARTS.items() if part in name), "")
        if not found:
            fields.note(f"ADetailer {name}")
            continue
        words.append(found)
        unit = SdFields(values, f"ADetailer {number} ", _USUAL)
        unit.skip("ad_model", "ad_tab_enable", *_BY_FLAG)
        for ignored in unit.name_ignored():
            fields.note(ignored)
    return {"detail": ",".join(dict.fromkeys(words))} if words else {}
