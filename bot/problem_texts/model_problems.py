"""Error sentences about models: what they cannot draw, downloading and installing them. Translated like those of
`bot.error_texts`."""

from collections.abc import Mapping

from bot.i18n import N_

DRAWING_PROBLEMS: Mapping[str, str] = {
    "sampler_lacks": N_("The sampler {value} has one schedule only: leave {option} out, or choose another sampler."),
    "sampler_choice": N_("The sampler {value} takes these schedules: {allowed}. Choose one, or another sampler."),
    "hires_range": N_("{option} is {value}, but must be {allowed} here: the model draws at most {nearest} px a side."),
    "hires_size": N_(
        "A picture of this size cannot be enlarged: the model draws at most {allowed} px a side. "
        "Ask for a smaller one, or leave {option} out."
    ),
    "no_mask": N_("{option} does not work where only a part is repainted: leave it out."),
    "no_control": N_("{option} does not work with a control picture: leave one of them out."),
}
"""Problems of options, as `bot.error_texts.OPTION_PROBLEMS`."""

DOWNLOAD_PROBLEMS: Mapping[str, str] = {
    "gated": N_("{repo} is gated: open {url}, accept its terms, set HF_TOKEN, and run this again."),
    "forbidden": N_(
        "This HF_TOKEN has no access to {repo}: open {url}, accept its terms with the token's account, and run this "
        "again."
    ),
    "not_found": N_("{repo} was not found on the hub: check the name at {url}; a private repo needs HF_TOKEN."),
    "no_revision": N_("{repo} has no revision {detail}: check it at {url}, or leave the revision out."),
    "unreachable": N_("The hub at {url} does not respond: check the connection, then run this again to resume."),
    "stalled": N_("The download of {repo} stalled: run this again to resume it."),
    "busy": N_("The hub at {url} is overloaded: run this again later to resume."),
    "damaged": N_("{detail} of {repo} was corrupt twice and has been discarded: run this again later."),
    "offline": N_("HF_HUB_OFFLINE is set, and {repo} is not in the cache: unset it to download."),
    "no_weights": N_("{repo} has no safetensors weights, only {detail}, which can run code and are refused."),
    "no_file": N_("{repo} has no safetensors or GGUF file {detail} that can be read: check the name on its page."),
    "no_kernels": N_("{repo} has no kernels for this machine's torch and GPU: use a .gguf file or the plain model."),
    "no_kernels_library": N_(
        "{repo} needs the package kernels: `.venv/bin/uv pip install -e '.[kernels]'` in Easel's folder installs it."
    ),
    "unknown_gguf": N_("{repo} cannot be used: it is a {detail}, which Easel cannot run yet."),
    "which_gguf": N_("{repo} has several .gguf files; choose one with --file: {detail}."),
    "which_file": N_("{repo} has several files; choose one with --file: {detail}."),
    "which_lora": N_(
        "The LoRA {repo} has several files; name one in the model's table in your config.toml, as "
        'loras = ["{repo}/FILE"]: {detail}.'
    ),
    "twice": N_("{repo} is already being downloaded."),
    "no_model": N_("{repo} is not a supported model: it has neither model_index.json nor config.json."),
    "broken": N_("The download of {repo} was interrupted: run this again to resume it."),
    "civitai_login": N_(
        "Civitai asks for a login to download {repo}: create an API key at {url}/user/account, set CIVITAI_TOKEN, and "
        "run this again."
    ),
    "civitai_forbidden": N_(
        "This CIVITAI_TOKEN has no access to {repo}: check on its page at {url} whether it is for members or in early "
        "access."
    ),
    "civitai_missing": N_("Civitai has no {repo}: check the link, which may be to a deleted model, at {url}."),
    "civitai_odd": N_("{url} gave an answer that is not Civitai's for {repo}: run this again later."),
    "civitai_unsafe": N_("Civitai's scan found {detail} of {repo} dangerous, so it is not downloaded: see {url}."),
    "no_hash": N_("{repo} cannot be verified, because {url} gives no SHA-256 hash for it yet: try again later."),
    "wrong_hash": N_(
        "{detail} of {repo} does not have the hash that Civitai gives, so it was deleted: run this again."
    ),
}
"""`detail` and `url` are filled in where the sentence names them."""

MODEL_PROBLEMS: Mapping[str, str] = {
    "unknown": N_("There is no model {model}. Models: {detail}."),
    "disk": N_("{model} needs {detail}: free some, or set HF_HOME to another disk."),
    "memory": N_("{model} needs {detail}: choose a smaller model."),
    "licence": N_("{model} has a licence to accept first: {detail}."),
    "arriving": N_("{model} is already being installed."),
    "not_installed": N_("{model} is not installed: `easel models use {detail}` installs it."),
    "compiling": N_("{model} is already being compiled."),
    "unwritable": N_("Your {model} cannot be changed: {detail}."),
    "not_arriving": N_("{model} is not being installed."),
    "task": N_("{model} does not support {detail}: leave it out, or choose another model."),
    "name": N_("{model} is not a valid model name: use only a to z, 0 to 9 and -."),
    "taken": N_("There is already a model called {model}: choose another name, or remove that one first."),
    "damaged": N_("{model} is not a model that can be loaded: {detail}."),
    "no_file": N_(
        "{model} was not found: give a hub repo (org/name), a link to Civitai, a folder, or a .safetensors or .gguf "
        "file."
    ),
    "pickle": N_("{model} does not hold plain weights, so it was not read: get the model as a .safetensors file."),
    "pickle_size": N_("{model} is larger than {detail} MiB: get the model as a .safetensors file."),
    "not_upscaler": N_(
        "{model} is not an upscaler, and only upscalers are converted from this format: get it as a .safetensors file."
    ),
    "format": N_("{model} is in a format that can run code and is refused: get it as a .safetensors file."),
    "no_models": N_(
        "{model} is no folder with models: give ComfyUI's or AUTOMATIC1111's folder, or its folder models."
    ),
    "name_encoding": N_("The path {model} is not in UTF-8: rename the file or folder."),
    "many_models": N_("{model} is too large to be scanned: scan its folders of models one by one."),
    "civitai_link": N_("{model} does not name a model: copy the address of a model's page at Civitai."),
    "trial": N_("{model} was downloaded, but its test failed, so nothing has changed: {detail}."),
    "in_use": N_("{model} is the only model for {detail}: install another one first."),
    "starter": N_("{model} ships with Easel and cannot be removed."),
    "kind": N_("{model} is a {detail}, which Easel cannot run yet."),
    "control": N_(
        "{model} is not a model of its own, but weights that control one. Write this into your config.toml: {detail}."
    ),
    "control_fits_none": N_(
        "{model} is a control ({detail}), which fits no model here: add a model of its family first."
    ),
    "addon": N_("{model} cannot be used: it {detail}."),
    "weights": N_("{model} cannot be used so: {detail}."),
    "base_model": N_(
        "{model} has only a denoiser: add it with --base-model and the repo or folder of the whole model that it is of."
    ),
    "build": N_("{model} stays on torch: {detail}."),
    "no_backend": N_(
        "{model} stays on torch: {detail} is not installed. `.venv/bin/uv pip install -e '.[{detail}]'` in Easel's "
        "folder installs it."
    ),
}

NOTHING_COMPILED = N_("Cancelled. Nothing was compiled.")
IN_BFLOAT16 = N_(
    "bfloat16 is faster here than float32 and will be used (speed, largest difference of a pixel's value): {words}"
)
"""A note of a model's trial."""
