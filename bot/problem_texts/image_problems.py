"""About the input images of a request, by the problem of an `InvalidOption`; and where a model has no answer."""

from collections.abc import Mapping

from bot.i18n import N_

IMAGE_PROBLEMS: Mapping[str, str] = {
    "no_known_words": N_("The matching model knows none of these words. Describe in English what a picture shows."),
    "needs_image": N_("This needs a picture: attach one, or reply to one."),
    "needs_shown_image": N_("No message has an image: send one as a data: URL, and a question about it."),
    "needs_images": N_("This needs {allowed} pictures or more: attach them to one message."),
    "too_few_pictures": N_(
        "This needs {allowed} pictures, but there are {value}: attach all of them to one message, "
        "those of --control and the like last."
    ),
    "no_upscaler": N_("No upscaling model is installed: leave method out; the owner can add one."),
    "refine_strength": N_(
        "{option} is {value}, but a picture that is refined in parts takes {allowed}: with more, each part would "
        "become a picture of its own."
    ),
    "refine_small": N_("The model {value} refines pictures of at least {allowed} px a side: use a larger scale."),
    "mask_opaque": N_("The mask has no transparent part: send a PNG that is transparent where the picture may change."),
    "which_cell": N_(
        "This message shows a grid. Reply to it with the place of one picture, such as {value}: it is shown alone, and "
        "there you can use it."
    ),
    "no_images": N_("This command accepts no picture."),
    "too_many_images": N_("{value} pictures are too many; the limit here is {allowed}."),
    "one_at_a_time": N_("The model {value} sees one picture at a time: ask about each of them alone."),
    "one_at_a_time_but": N_(
        "The model {value} sees one picture at a time: ask about each of them alone, or choose the model {nearest}."
    ),
    "too_many_controls": N_("{value} controls are too many; the limit here is {allowed}."),
    "too_many_references": N_("{value} reference pictures are too many; the limit here is {allowed}."),
    "control_kind": N_("Say what kind of control the picture is: {allowed}."),
    "other_map": N_("That picture is a {allowed} map: use it with --control {allowed}."),
    "canvas_full": N_("This picture is a square already."),
    "canvas_small": N_("This picture is too small for that: start from a larger one."),
    "canvas_size": N_(
        "The picture would become {value} pixels, which is too long or too large: start from another one."
    ),
    "map_shape": N_(
        "The {option} map is {value}, but the picture is to be {allowed}: leave the size out, or use another map."
    ),
    "no_person": N_("I can't see a person in the picture for the {option} control."),
    "preview_both": N_("Name either a region or a kind of map: a preview shows one of them."),
    "preview_what": N_(
        'Say what to preview: words for a region, such as "the sky", or a kind of map, one of: {allowed}.'
    ),
    "control_lacks": N_(
        "The model {value} has no {option} control: leave it out, or choose another model; the owner can add weights "
        "for it to the model's controls."
    ),
    "control_elsewhere": N_("The model {value} has no {option} control. Models here that have one: {allowed}."),
    "control_misfit": N_(
        "The {option} control of {value} does not fit the model: {allowed}. The owner can correct the model's controls."
    ),
    "control_unusable": N_(
        "The weights of the {option} control of {value} are missing or damaged; the owner can run "
        "`easel models use {value}`, or correct the model's controls."
    ),
    "control_no_memory": N_("There is too little device memory to use a control with {value}: leave it out."),
    "reference_lacks": N_(
        "The model {value} cannot use a picture as {option}: choose another model, or the owner can add an IP-Adapter "
        "to its controls."
    ),
    "role_lacks": N_("A picture with the role {value} has no {option}: leave it out."),
    "start_after_end": N_("A control that starts at {value} must end after that, but its end is {allowed}."),
    "region_form": N_("Write the part to change, a colon, and what to paint there, for example: the hat: a crown."),
    "mask_missing": N_(
        "A mask needs its picture: send both as an album, the picture first, or reply to the picture with the mask."
    ),
    "mask_empty": N_(
        "The mask selects nothing: paint what is to be repainted white on black, or in any colour on a clear canvas."
    ),
    "mask_shape": N_(
        "The mask is {value} but its picture is {allowed}. Use a mask with the same aspect ratio; any size works."
    ),
}
NO_ANSWER = N_(
    "The model found no words for this; you weren't charged. Ask in other words, or allow more tokens "
    "(max_new_tokens): a model that thinks first may need them all."
)
