"""Settings in the files of other programs. The values of InvokeAI, Fooocus, NovelAI, A1111 and ComfyUI were compared
with those of the package sd-parsers 0.6 on its own sample files, of which these are smaller likenesses."""

import gzip
import io
import json
import random
import time

import pytest
from PIL import ExifTags, Image, PngImagePlugin

from inference.images.decode import sanitize
from inference.images.metadata import user_comment
from inference.images.metadata_reader import parse_generation_metadata
from inference.ipc.image_messages import SanitizeRequest
from tests.inference.images.comfyui_graphs import (
    BASE,
    CAT,
    COMFY_CAT,
    FLUX,
    GRAPHS,
    WORKFLOW,
    WORKFLOW_OF_2025,
    custom_sampler,
    node,
    with_sampler,
)


def options_of(texts):
    metadata = parse_generation_metadata(texts)
    return metadata and metadata["options"]


# ---------------------------------------------------------------- A1111's text

LINES = "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 512x768"
RESOURCES = (
    ', Clip skip: 2, Civitai resources: [{"type":"checkpoint","modelVersionId":12,"modelName":"Seed: 5, XL"},'
    '{"type":"lora","weight":0.8,"modelName":"Ink"}], Civitai metadata: {}'
)
A1111_TEXTS = {
    "lines of a template": LINES + "\nTemplate: a __animal__, Seed: 5\nNegative Template: dog",
    "a line break in a value": LINES + ', Wildcard prompt: "one\ntwo, Seed: 5", Version: v1.5.1',
    "CRLF": LINES.replace("\n", "\r\n"),
    "CR": LINES.replace("\n", "\r"),
    "a caption of another tool": LINES + "\n\nA caption: a cat sits.\nSteps: up to the door",
    "a list of hashes": LINES.replace(", Seed", ', Hashes: {"model": "abc", "Seed": 5}, Seed'),
    "a quoted value with separators": LINES.replace(", Seed", ', Lora hashes: "ink: 12, Seed: 5", Seed'),
    "an unclosed quote": LINES + ', Wildcard prompt: "one',
    "an unclosed list": LINES + ", Civitai resources: [{1, 2",
    "a byte order mark": "\ufeff" + LINES,
    "spaces before the settings": LINES.replace("Steps", "  Steps"),
    "another setting first": LINES.replace("Steps: 20, Sampler: Euler a", "Sampler: Euler a, Steps: 20"),
    "a distilled model's guidance": LINES.replace("CFG scale: 7", "CFG scale: 1, Distilled CFG Scale: 7"),
    "settings in another order": LINES.replace(", Seed: 42", "").replace("CFG", "Seed: 42, Schedule type: Normal, CFG"),
}


@pytest.mark.parametrize("text", A1111_TEXTS.values(), ids=A1111_TEXTS)
def test_the_text_of_a1111_is_read_whatever_stands_around_its_settings(text):
    assert options_of({"parameters": text}) == CAT


def test_the_model_of_civitai_is_read_from_its_resources():
    assert options_of({"parameters": LINES + RESOURCES}) == CAT | {"model": "Seed: 5, XL", "clip_skip": 2}


def test_the_strength_of_a_second_pass_is_not_that_of_an_input_image():
    text = LINES + ", Denoising strength: 0.4"

    assert options_of({"parameters": text}) == CAT | {"strength": 0.4}
    assert options_of({"parameters": text + ", Hires resize: 1024x1536, Hires upscaler: Latent"}) == CAT


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Hires upscale: 1.5, Hires steps: 10, Denoising strength: 0.4", {"hires": 1.5, "strength": 0.4}),
        ("Variation seed: 9, Variation seed strength: 0.2", {"variation_seed": 9, "variation_strength": 0.2}),
        ("Variation seed: 9, Variation seed strength: 0", {}),
        ("CFG rescale: 0.7", {"guidance_rescale": 0.7}),
        ("Clip skip: 1", {}),
        ("Tiling: True", {"tiling": True}),
        ("Schedule type: SGM Uniform", {"schedule": "sgm_uniform"}),
        ("Schedule type: Automatic", {}),
    ],
)
def test_what_is_beside_the_usual_settings_is_read(written, read):
    assert options_of({"parameters": f"{LINES}, {written}"}) == CAT | read


@pytest.mark.parametrize(
    ("written", "schedule"),
    [
        ("DPM++ 2M Karras", "karras"),
        ("DPM++ 2M, Schedule type: Exponential", "exponential"),
        ("DPM++ 2M, Schedule type: Automatic", "karras"),
    ],
)
def test_a_schedule_is_read_behind_the_sampler_or_beside_it(written, schedule):
    options = options_of({"parameters": LINES.replace("Euler a", written)})

    assert (options["sampler"], options["schedule"]) == ("dpmpp_2m", schedule)


CONTROLNETS = (
    ', ControlNet 0: "Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 0.8, Resize Mode: Crop and '
    'Resize, Processor Res: 512, Threshold A: 100, Guidance Start: 0.1, Guidance End: 0.5, Control Mode: Balanced", '
    'ControlNet 1: "Module: none, Model: diffusers_xl_depth_full [2f51180b], Weight: 1", '
    'ControlNet 2: "Module: ip-adapter_clip_sd15, Model: ip-adapter_sd15 [6a3f6166], Weight: 0.5", '
    'ControlNet 3: "Module: mediapipe_face, Model: unknown, Weight: 1"'
)


def test_the_controls_of_a1111_are_read_without_their_pictures():
    metadata = parse_generation_metadata({"parameters": LINES + CONTROLNETS})

    assert metadata is not None
    assert metadata["options"] == CAT
    assert metadata["images"] == [
        {"role": "control", "kind": "canny", "weight": 0.8, "start": 0.1, "end": 0.5},
        {"role": "control", "kind": "depth", "weight": 1.0, "start": 0.0, "end": 1.0},
        {"role": "reference", "kind": "subject", "weight": 0.5, "start": 0.0, "end": 1.0},
    ]


def test_a_prompt_may_have_a_line_that_begins_like_settings():
    for line in ("Steps: 3 to the door", "Steps: 3, hat: red, coat: blue, door: open", "Size: large, hat: red"):
        text = LINES.replace("a cat", f"a wizard\n{line}")

        assert options_of({"parameters": text}) == CAT | {"prompt": f"a wizard\n{line}"}


def test_a_text_with_numbered_steps_is_no_settings():
    assert parse_generation_metadata({"parameters": "Pancakes\nSteps: 1 mix the dough\nSteps: 2 bake it"}) is None


def test_a_sampler_that_easel_lacks_is_kept_by_name():
    metadata = parse_generation_metadata({"parameters": LINES.replace("Euler a", "DPM adaptive")})

    assert metadata is not None
    assert metadata["left_out"] == {"sampler": "DPM adaptive"}
    assert "sampler" not in metadata["options"]


# ---------------------------------------------------------------- ComfyUI


@pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)
def test_a_graph_of_comfyui_is_read_along_its_links(graph):
    assert options_of({"prompt": json.dumps(graph)}) == COMFY_CAT


def test_nodes_of_comfyui_beside_the_sampler_are_read():
    added = {
        "40": node("CLIPSetLastLayer", stop_at_clip_layer=-2, clip=["4", 1]),
        "41": node("RescaleCFG", multiplier=0.7, model=["4", 0]),
        "42": node("ControlNetLoader", control_net_name="control_v11f1p_sd15_depth_fp16.safetensors"),
        "43": node(
            "ControlNetApplyAdvanced",
            strength=0.75, start_percent=0.0, end_percent=0.8, positive=["6", 0], negative=["7", 0],
            control_net=["42", 0],
        ),
    }  # fmt: skip
    graph = with_sampler(scheduler="karras", model=["41", 0], positive=["43", 0], negative=["43", 1]) | added
    graph["6"] = node("CLIPTextEncode", text="a cat", clip=["40", 0])

    metadata = parse_generation_metadata({"prompt": json.dumps(graph)})

    more = {"schedule": "karras", "clip_skip": 2, "guidance_rescale": 0.7}
    assert metadata is not None
    assert metadata["options"] == COMFY_CAT | more
    assert metadata["images"] == [{"role": "control", "kind": "depth", "weight": 0.75, "start": 0.0, "end": 0.8}]


@pytest.mark.parametrize(
    "graph",
    [
        custom_sampler(FLUX["10"], **FLUX),
        with_sampler(cfg=1.0, model=["30", 0], positive=["26", 0], negative=["27", 0])
        | FLUX
        | {"27": node("ConditioningZeroOut", conditioning=["6", 0])},
    ],
    ids=["a guider", "a negative prompt that is zeroed"],
)
def test_flux_has_its_own_guidance_and_no_negative_prompt(graph):
    expected = COMFY_CAT | {"guidance_scale": 3.5, "model": "flux"}
    del expected["negative_prompt"]

    assert options_of({"prompt": json.dumps(graph)}) == expected


def test_prompts_that_reach_the_sampler_as_one_are_told_apart():
    bridge = {"20": node("WanVideoTextEmbedBridge", positive=["6", 0], negative=["7", 0])}
    sampler = node("WanVideoSampler", steps=20, cfg=7.0, seed=42, scheduler="unipc", text_embeds=["20", 0])
    encoder = {"20": node("WanVideoTextEncode", positive_prompt="a cat", negative_prompt="dog")}

    for nodes in (bridge, encoder):
        options = options_of({"prompt": json.dumps(BASE | nodes | {"3": sampler})})

        assert (options["prompt"], options["negative_prompt"], options["sampler"]) == ("a cat", "dog", "unipc")


def test_a_request_to_comfyui_is_read_like_its_graph():
    assert options_of({"prompt": json.dumps({"prompt": BASE, "client_id": "x"})}) == COMFY_CAT


@pytest.mark.parametrize("link", [[None, 0], [["6"], 0], [6.5, 0], {"a": 1}, 7, True])
def test_what_is_no_link_is_no_prompt(link):
    assert options_of({"prompt": json.dumps(with_sampler(positive=link))})["prompt"] == ""


def test_a_workflow_without_its_graph_is_read():
    for workflow in (WORKFLOW, WORKFLOW_OF_2025):
        assert options_of({"workflow": json.dumps(workflow)}) == COMFY_CAT


@pytest.mark.parametrize("part", [None, 1, "x", [], {}, [[]], [{}], [None], [[1, [], {}]], {"1": None}])
@pytest.mark.parametrize("name", ["nodes", "links", "inputs", "widgets_values"])
def test_a_damaged_workflow_is_read_in_part_or_not(name, part):
    node = {"id": 3, "type": "KSampler", "inputs": [{"name": "positive", "link": 1}], "widgets_values": [1]}
    workflow = {"nodes": [node], "links": [[1, 3, 0, 3, 1]]}
    (node if name in node else workflow)[name] = part

    json.dumps(parse_generation_metadata({"workflow": json.dumps(workflow)}), allow_nan=False)


def test_a_seed_of_64_bits_is_read_exactly():
    assert options_of({"prompt": json.dumps(with_sampler(seed=2**64 - 3))})["seed"] == 2**64 - 3


# ---------------------------------------------------------------- programs

NOVELAI = {"steps": 20, "width": 512, "height": 768, "scale": 7.0, "seed": 42, "sampler": "k_euler_ancestral"}
V4_CAPTION = {"base_caption": "a", "char_captions": [{"char_caption": "cat"}]}
NOVELAI |= {"uc": "dog", "strength": 0.69, "noise": 0.2}
DRAW_THINGS = {"c": "a cat", "uc": "dog", "steps": 20, "scale": 7, "seed": 42, "size": "512x768", "strength": 1}
DRAW_THINGS |= {"sampler": "Euler A", "model": "m.ckpt", "lora": [], "v2": {"steps": 1}}
FOOOCUS = {"prompt": "a cat", "negative_prompt": "dog", "prompt_expansion": "cute", "steps": 20, "seed": "42"}
FOOOCUS |= {"resolution": "(512, 768)", "guidance_scale": 7.0, "base_model": "m.ckpt", "sampler": "euler_ancestral"}
INVOKEAI = {"positive_prompt": "a cat", "negative_prompt": "dog", "steps": 20, "cfg_scale": 7, "seed": 42}
INVOKEAI |= {"width": 512, "height": 768}
INVOKEAI_2 = {"steps": 20, "cfg_scale": 7, "seed": 42, "width": 512, "height": 768, "sampler": "k_euler_a"}
CIVITAI = {"prompt": "a cat", "negativePrompt": "dog", "steps": 20, "cfgScale": 7, "sampler": "Euler a", "seed": 42}
RUINED = {"Prompt": "a cat", "Negative": "dog", "steps": 20, "cfg": 7, "width": 512, "height": 768, "seed": 42}
RUINED |= {"sampler_name": "euler_ancestral", "scheduler": "normal", "base_model_name": "m.ckpt", "denoise": None}
RUINED |= {"software": "RuinedFooocus", "loras": []}
EASY = {"prompt": "a cat", "negative_prompt": "dog", "num_inference_steps": 20, "guidance_scale": 7, "seed": 42}
EASY |= {"width": 512, "height": 768, "sampler_name": "euler_a", "use_stable_diffusion_model": "m.ckpt"}
MODEL = {"model": "m.ckpt"}


def in_xmp(data):
    text = json.dumps(data).replace("&", "&amp;").replace('"', "&quot;")
    alternatives = f'<rdf:Alt>\n <rdf:li xml:lang="x-default">{text}</rdf:li></rdf:Alt>'
    return f"<x:xmpmeta><exif:UserComment>{alternatives}</exif:UserComment></x:xmpmeta>"


PROGRAMS = {
    "InvokeAI 4": (
        "invokeai",
        {"invokeai_metadata": json.dumps(INVOKEAI | {"scheduler": "euler_a", "model": {"name": "m.ckpt"}})},
        MODEL,
    ),
    "InvokeAI 3": (
        "invokeai",
        {"invokeai_metadata": json.dumps(INVOKEAI | {"scheduler": "euler_a", "model": {"model_name": "m.ckpt"}})},
        MODEL,
    ),
    "InvokeAI 2": (
        "invokeai",
        {
            "sd-metadata": json.dumps(
                {"model_weights": "m.ckpt", "image": INVOKEAI_2 | {"prompt": [{"prompt": "a cat [dog]", "weight": 1}]}}
            ),
            "Dream": '"ignored" -s 1',
        },
        MODEL,
    ),
    "InvokeAI 1": ("invokeai", {"Dream": '"a cat [dog]" -s 20 -S 42 -W 512 -H 768 -C 7.0 -A k_euler_a'}, {}),
    "Fooocus": ("fooocus", {"parameters": json.dumps(FOOOCUS), "fooocus_scheme": "fooocus"}, MODEL),
    "Fooocus in A1111's scheme": ("a1111", {"parameters": LINES, "fooocus_scheme": "a1111"}, {}),
    "Fooocus with a list": ("fooocus", {"parameters": json.dumps(FOOOCUS | {"resolution": [512, 768]})}, MODEL),
    "RuinedFooocus": ("fooocus", {"parameters": json.dumps(RUINED)}, MODEL),
    "Easy Diffusion": ("easy_diffusion", {name: str(value) for name, value in EASY.items()}, MODEL),
    "Easy Diffusion in a JPEG": ("easy_diffusion", {"UserComment": json.dumps(EASY)}, MODEL),
    "InvokeAI with a distilled model": (
        "invokeai",
        {
            "invokeai_metadata": "\ufeff"
            + json.dumps(
                INVOKEAI
                | {"scheduler": "euler_a", "cfg_scale": 1, "guidance": 7, "strength": 0.7, "generation_mode": "txt2img"}
            )
        },
        {},
    ),
    "Fooocus in a JPEG": ("fooocus", {"UserComment": json.dumps(FOOOCUS)}, MODEL),
    "NovelAI": (
        "novelai",
        {"Description": "a cat", "Source": "NovelAI Diffusion V3 7BCCAA2C", "Comment": json.dumps(NOVELAI)},
        {"model": "NovelAI Diffusion V3"},
    ),
    "NovelAI 4": (
        "novelai",
        {
            "Comment": json.dumps(NOVELAI | {"prompt": "a", "v4_prompt": {"caption": V4_CAPTION}})
        },
        {"prompt": "a, cat"},
    ),
    "NovelAI in a WebP": (
        "novelai",
        {"UserComment": json.dumps({"Description": "a cat", "Comment": json.dumps(NOVELAI)})},
        {},
    ),
    "Draw Things": ("draw_things", {"xmp": in_xmp(DRAW_THINGS)}, MODEL),
    "Draw Things in EXIF": ("draw_things", {"UserComment": json.dumps(DRAW_THINGS)}, MODEL),
    "Draw Things in the description": ("draw_things", {"ImageDescription": json.dumps(DRAW_THINGS)}, MODEL),
    "Civitai": (
        "civitai",
        {"UserComment": json.dumps(with_sampler(seed=1, steps=4) | {"extraMetadata": json.dumps(CIVITAI)})},
        {"model": "m.safetensors"},
    ),
    "SwarmUI": (
        "swarmui",
        {
            "parameters": json.dumps(
                {
                    "sui_image_params": {
                        "prompt": "a cat", "negativeprompt": "dog", "steps": 20, "cfgscale": 7, "seed": 42,
                        "width": 512, "height": 768, "sampler": "euler_ancestral", "model": "m.ckpt",
                    }
                }
            )
        },
        MODEL,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("source", "texts", "more"), PROGRAMS.values(), ids=PROGRAMS)
def test_the_settings_of_other_programs_are_read(source, texts, more):
    assert parse_generation_metadata(texts) == {"source": source, "command": "imagine", "options": CAT | more}


@pytest.mark.parametrize(
    ("words", "weighted"),
    [
        ("{a cat}", "(a cat:1.05)"),
        ("{{a}, cat}", "(a:1.1)(, cat:1.05)"),
        ("[a] cat", "(a:0.952) cat"),
        ("1.5::a cat:: on red", "(a cat:1.5) on red"),
    ],
)
def test_the_braces_of_novelai_are_weights(words, weighted):
    assert options_of({"Comment": json.dumps(NOVELAI), "Description": words})["prompt"] == weighted


@pytest.mark.parametrize("comment", ["Created with GIMP", '{"a": 1}', "[1]", "{", '{"Comment": "{}"}', '{"prompt": 5}'])
@pytest.mark.parametrize("name", ["Comment", "parameters", "UserComment", "invokeai_metadata", "sd-metadata", "prompt"])
def test_other_texts_are_no_settings(name, comment):
    assert parse_generation_metadata({name: comment}) is None


# ---------------------------------------------------------------- files


def read_file(image, image_format, **options):
    out = io.BytesIO()
    image.save(out, image_format, **options)
    return sanitize(SanitizeRequest(data=out.getvalue(), max_pixels=10**6)).parameters


def exif_with(**tags):
    exif = Image.Exif()
    for name, value in tags.items():
        exif[ExifTags.Base[name]] = value
    return exif


@pytest.mark.parametrize("image_format", ["JPEG", "WEBP"])
def test_texts_in_exif_are_found(image_format):
    picture = Image.new("RGB", (8, 8))
    comment = Image.Exif()
    comment.get_ifd(ExifTags.IFD.Exif)[0x9286] = user_comment(json.dumps(FOOOCUS))

    assert read_file(picture, image_format, exif=comment)["source"] == "fooocus"
    described = read_file(picture, image_format, exif=exif_with(ImageDescription=json.dumps(DRAW_THINGS)))
    assert described["source"] == "draw_things"
    graph = read_file(picture, image_format, exif=exif_with(Model=f"prompt:{json.dumps(BASE)}", Make="workflow:{}"))
    assert graph["options"] == COMFY_CAT


@pytest.mark.parametrize(("magic", "pack"), [(b"stealth_pngcomp", gzip.compress), (b"stealth_pnginfo", bytes)])
def test_settings_in_the_alpha_channel_are_found(magic, pack):
    data = pack(LINES.encode())
    hidden = magic + (8 * len(data)).to_bytes(4, "big") + data
    bits = [int(bit) for byte in hidden for bit in f"{byte:08b}"]
    alpha = Image.new("L", (64, 64), 255)
    for at, bit in enumerate(bits):
        alpha.putpixel((at // 64, at % 64), 254 | bit)
    picture = Image.new("RGBA", (64, 64), "red")
    picture.putalpha(alpha)

    assert read_file(picture, "PNG")["options"] == CAT


def test_a_graph_that_is_longer_than_a_prompt_is_read():
    chunks = PngImagePlugin.PngInfo()
    graph = BASE | {f"n{n}": node("Note", text="x" * 100) for n in range(1500)}
    chunks.add_text("prompt", json.dumps(graph))

    assert read_file(Image.new("RGB", (8, 8)), "PNG", pnginfo=chunks)["options"] == COMFY_CAT


# ---------------------------------------------------------------- hostile files


def test_hostile_graphs_end_quickly():
    wide = {
        str(n): node("StringConcatenate", **{f"s{k}": [str((n + k) % 60), 0] for k in range(60)}) for n in range(60)
    }
    loop = {"1": node("KSampler", positive=["1", 0], negative=["1", 1], latent_image=["1", 0], model=["1", 0])}
    many = {str(n): node("KSampler", positive=[str(n + 1), 0], latent_image=[str(n + 1), 0]) for n in range(1900)}
    deep = {str(n): node("Reroute", **{"": [str(n + 1), 0]}) for n in range(1900)}
    started_at = time.process_time()

    for graph in (wide | {"k": node("KSampler", positive=["0", 0])}, loop, many, deep | {"k": loop["1"]}):
        parse_generation_metadata({"prompt": json.dumps(graph)})

    assert time.process_time() - started_at < 2


@pytest.mark.parametrize(
    "text",
    ["x\nSteps: 1" + ', a: "' * 15_000, "Steps: 1\n" * 10_000, "x\nSteps: 1, a: " + "[" * 90_000, "[" * 90_000],
)
def test_hostile_texts_end_quickly(text):
    started_at = time.process_time()

    for name in ("parameters", "UserComment", "Dream", "Comment", "xmp"):
        parse_generation_metadata({name: text})
        parse_generation_metadata({name: '"' + text})

    assert time.process_time() - started_at < 2


def test_no_mutation_of_a_real_text_raises():
    dice = random.Random(7)
    texts = [json.dumps(graph) for graph in GRAPHS.values()] + [
        LINES + RESOURCES,
        json.dumps(FOOOCUS),
        in_xmp(DRAW_THINGS),
    ]
    for _ in range(300):
        text = list(dice.choice(texts))
        for _ in range(dice.randrange(1, 8)):
            text[dice.randrange(len(text))] = dice.choice('[]{}",:0 1ax-')
        for name in ("prompt", "parameters", "xmp"):
            metadata = parse_generation_metadata({name: "".join(text)})
            json.dumps(metadata, allow_nan=False)
