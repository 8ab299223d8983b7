"""Generation metadata of images: written, read back, and read from other programs and untrusted files."""

import dataclasses
import io
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, PngImagePlugin

from bot.jobs import Media
from bot.models import IMAGE_TO_IMAGE, ControlSource
from bot.ports import TaskImage
from bot.samplers import SAMPLER_NAMES, SAMPLERS, read_sampler
from inference.images.decode import sanitize
from inference.images.encode import encode_image
from inference.images.metadata import SOURCE_TYPE, comment_text, generation_metadata, user_comment, xmp_packet
from inference.images.metadata_reader import parse_generation_metadata
from inference.ipc.image_messages import EncodeRequest, SanitizeRequest
from inference.ipc.messages import RawImage
from tests.inference.support import make_model, make_task

FORMATS = ("png", "jpeg", "webp")
TRICKY = [
    "a fox, red, (blue:1.3)",
    'he said "Steps: 3, Seed: 4"',
    "two\nlines\nNegative prompt: not really\nSteps: 20, Sampler: euler",
    "🦊 in the Café <b>&amp;</b> ]]> </easel:request> 日本",
    "back\\slash \t tab 'quotes' {a|b} <lora:x:0.8> --flag",
    r"a [cat:dog:0.5] (x:-1) [a|b|c] <lyco:ink:> \(y\) BREAK it AND [x::5]",
    "",
]


def make_image(**overrides: Any) -> RawImage:
    plain = RawImage(index=0, width=8, height=8, pixels=b"\0" * 192, seed=9, sampler="ddim", revision="r1")
    return dataclasses.replace(plain, **overrides)


def make_request(prompt="a fox", **options):
    filled = {
        "negative_prompt": "",
        "seed": 7,
        "count": 4,
        "steps": 20,
        "guidance_scale": 5.0,
        "sampler": "",
        "model": "starter-image",
    }
    return make_task(prompt, model=make_model("starter-image"), options=filled | options)


def test_each_image_names_the_prompt_that_it_was_generated_from():
    asked = {"prompt": "a __animal__", "style": "ink"}
    task = make_request("a fox", prompts=["a fox", "a cat <lora:ink:0.5>"], asked=asked)
    parameters, easel = generation_metadata(task, make_image(index=1))

    assert parameters.startswith("a cat <lora:ink:0.5>\n")
    options = json.loads(easel)["options"]
    assert options["prompt"] == "a cat <lora:ink:0.5>"
    assert not {"prompts", "asked"} & set(options)


def file_of(task, image_format: str = "png") -> bytes:
    parameters, easel = generation_metadata(task, make_image())
    request = EncodeRequest(
        pixels=b"\0" * 192, width=8, height=8, parameters=parameters, easel=easel, image_format=image_format
    )
    return encode_image(request).data


def metadata_of(data: bytes):
    return sanitize(SanitizeRequest(data=data, max_pixels=16_000_000)).parameters


# ---------------------------------------------------------------- writing


def test_the_a1111_text_has_the_usual_format():
    parameters, _ = generation_metadata(make_request(negative_prompt="blurry"), make_image(width=128, height=96))

    assert parameters == (
        "a fox\nNegative prompt: blurry\n"
        "Steps: 20, Sampler: DDIM, CFG scale: 5.0, Seed: 9, Size: 128x96, Model: starter-image, Version: Easel 0.1.0"
    )


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_text_in_a_file_is_read_as_its_program_wrote_it(image_format):
    task = make_request(negative_prompt="blurry")

    read = sanitize(SanitizeRequest(data=file_of(task, image_format), max_pixels=16_000_000)).text

    assert read == generation_metadata(task, make_image())[0]


def test_the_strength_is_named_when_there_was_an_input_image():
    task = dataclasses.replace(make_request(strength=0.6), task=IMAGE_TO_IMAGE)

    assert "Model: starter-image, Denoising strength: 0.6, Version" in generation_metadata(task, make_image())[0]


def test_easels_json_reproduces_this_one_image():
    _, easel = generation_metadata(make_request(), make_image())

    data = json.loads(easel)
    assert data["command"] == "imagine"
    assert data["model_revision"] == "r1"
    assert data["options"] == dict(make_request().options) | {"count": 1, "seed": 9, "sampler": "ddim"}


@pytest.mark.parametrize("image_format", FORMATS)
def test_every_encoding_marks_the_image_as_generated(image_format):
    image = Image.open(io.BytesIO(file_of(make_request(), image_format)))
    image.load()

    xmp = image.info["xmp"].decode()
    assert f'Iptc4xmpExt:DigitalSourceType="{SOURCE_TYPE}"' in xmp


def test_a_png_has_the_chunks_that_other_tools_read():
    image = Image.open(io.BytesIO(file_of(make_request("🦊"))))

    assert isinstance(image, PngImagePlugin.PngImageFile)
    assert image.text["parameters"].startswith("🦊\nSteps: 20")
    assert json.loads(image.text["easel"])["easel"] == 1


@pytest.mark.parametrize("image_format", ["jpeg", "webp"])
def test_other_encodings_have_the_a1111_text_in_exif(image_format):
    image = Image.open(io.BytesIO(file_of(make_request("🦊"), image_format)))

    comment = image.getexif().get_ifd(ExifTags.IFD.Exif)[0x9286]
    assert comment_text(comment).startswith("🦊\nSteps: 20")


COMMENT = '{"prompt": "🦊"}'
COMMENTS = {
    "big-endian": b"UNICODE\0" + COMMENT.encode("utf-16-be"),
    "little-endian": b"UNICODE\0" + COMMENT.encode("utf-16-le"),
    "with a mark": b"UNICODE\0\xff\xfe" + COMMENT.encode("utf-16-le"),
    "with the other mark": b"UNICODE\0\xfe\xff" + COMMENT.encode("utf-16-be"),
    "half a letter at the end": b"UNICODE\0" + COMMENT.encode("utf-16-le") + b"x",
    "UTF-8 that is called Unicode": b"UNICODE\0" + COMMENT.encode(),
    "a code in small letters": b"Unicode\0" + COMMENT.encode("utf-16-le"),
    "UTF-8 that is called ASCII": b"ASCII\0\0\0" + COMMENT.encode(),
    "JIS": b"JIS\0\0\0\0\0" + COMMENT.encode(),
    "an unknown code": bytes(8) + COMMENT.encode(),
    "no code": COMMENT.encode(),
}


@pytest.mark.parametrize("comment", COMMENTS.values(), ids=COMMENTS)
def test_a_comment_is_read_in_every_encoding_that_programs_write(comment):
    assert comment_text(comment) == COMMENT


def test_a_comment_of_bytes_is_no_text():
    assert comment_text(b"\xff\xd8\xff\xe0 a thumbnail") == ""


def test_the_xmp_packet_is_well_formed():
    from xml.etree import ElementTree

    root = ElementTree.fromstring(xmp_packet(json.dumps({"prompt": "<&>\"']]>"})).split("?>", 1)[1].rsplit("<?", 1)[0])

    assert json.loads(root.findtext(".//{urn:easel:1/}request") or "") == {"prompt": "<&>\"']]>"}


# ---------------------------------------------------------------- reading back


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("prompt", TRICKY)
def test_an_image_restores_the_command_that_generated_it(prompt, image_format):
    task = make_request(prompt, negative_prompt=prompt[::-1])

    metadata = metadata_of(file_of(task, image_format))

    assert metadata == {
        "source": "easel",
        "command": "imagine",
        "options": dict(task.options) | {"count": 1, "seed": 9, "sampler": "ddim"},
    }


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=300)


@given(
    prompt=words,
    negative=words,
    seed=st.integers(0, 2**32 - 1),
    guidance=st.floats(0, 30),
    steps=st.integers(1, 150),
    image_format=st.sampled_from(FORMATS),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_command_survives_in_its_image(prompt, negative, seed, guidance, steps, image_format):
    task = make_request(prompt, negative_prompt=negative, guidance_scale=guidance, steps=steps)
    parameters, easel = generation_metadata(task, make_image(seed=seed))
    request = EncodeRequest(
        pixels=b"\0" * 192, width=8, height=8, parameters=parameters, easel=easel, image_format=image_format
    )

    metadata = metadata_of(encode_image(request).data)

    assert metadata is not None
    assert metadata["options"] == dict(task.options) | {"count": 1, "seed": seed, "sampler": "ddim"}


# ---------------------------------------------------------------- other programs

A1111 = (
    "a castle, <lora:x:1>, (night:1.2)\nsecond line\nNegative prompt: blurry,\nugly\n"
    "Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 2143, Size: 512x768, Model hash: abc, "
    'Model: "my, model", Denoising strength: 0.55, Clip skip: 2, Version: v1.9'
)
A1111_OPTIONS = {
    "prompt": "a castle, <lora:x:1>, (night:1.2)\nsecond line",
    "negative_prompt": "blurry,\nugly",
    "steps": 28,
    "sampler": "dpmpp_2m",
    "guidance_scale": 7.0,
    "seed": 2143,
    "width": 512,
    "height": 768,
    "strength": 0.55,
    "model": "my, model",
    "schedule": "karras",
    "clip_skip": 2,
}


ROW_OPTIONS = {
    "hires": 1.5,
    "strength": 0.4,
    "variation_seed": 11,
    "variation_strength": 0.2,
    "guidance_rescale": 0.7,
    "clip_skip": 2,
    "tiling": True,
    "schedule": "sgm_uniform",
    "width": 64,
    "height": 48,
}
CONTROLLED = (
    TaskImage("control", Media(b"", "image/png"), kind="canny", weight=0.8, start=0.1, end=0.5, is_ready=True),
    TaskImage("reference", Media(b"", "image/png"), kind="style", weight=0.6),
)


def make_controlled():
    controls = {
        "canny": ControlSource(repo="org/repo", file="nets/control_v11p_sd15_canny.safetensors"),
        "style": "org/ip",
    }
    model = make_model("starter-image", controls=controls)
    return dataclasses.replace(make_request(**ROW_OPTIONS, sampler="dpmpp_2m"), images=CONTROLLED, model=model)


def test_the_a1111_text_names_what_is_beside_the_usual_settings_as_a1111_does():
    text, _ = generation_metadata(make_controlled(), make_image(index=1, width=96, height=80, sampler="dpmpp_2m"))

    assert text.splitlines()[-1].partition(", Version")[0] == (
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: SGM Uniform, CFG scale: 5.0, Seed: 9, Size: 64x48, "
        "Model: starter-image, Denoising strength: 0.4, Variation seed: 12, Variation seed strength: 0.2, "
        "CFG rescale: 0.7, Clip skip: 2, Tiling: True, Hires upscale: 1.5, Hires steps: 20, Hires upscaler: Lanczos, "
        'ControlNet 0: "Module: canny, Model: control_v11p_sd15_canny, Weight: 0.8, Guidance Start: 0.1, '
        'Guidance End: 0.5, Control Mode: Balanced", ControlNet 1: "Module: ip-adapter-style, Model: ip, Weight: 0.6, '
        'Guidance Start: 0.0, Guidance End: 1.0, Control Mode: Balanced"'
    )


@pytest.mark.parametrize(("fields", "module"), [({}, '"Module: ip-adapter-style, Model: ip, Weight: 0.6,'), (
    {"tasks": ("image-text-to-image",), "max_images": 4}, ""
)])  # fmt: skip
def test_a_reference_of_no_kind_is_named_by_the_adapter_that_served_it(fields, module):
    """A model that takes references itself has none."""
    task = make_controlled()
    images = (dataclasses.replace(CONTROLLED[1], kind=""),)
    text, _ = generation_metadata(
        dataclasses.replace(task, images=images, model=dataclasses.replace(task.model, **fields)), make_image()
    )

    assert ("ControlNet 0" in text, module in text) == (bool(module), True)


@pytest.mark.parametrize("name", ["easel", "parameters"])
def test_options_and_controls_survive_in_easels_json_and_in_the_a1111_text(name):
    parameters, easel = generation_metadata(make_controlled(), make_image(sampler="dpmpp_2m"))

    read = parse_generation_metadata({name: {"easel": easel, "parameters": parameters}[name]})

    assert read is not None
    assert {option: read["options"][option] for option in ROW_OPTIONS} == ROW_OPTIONS
    assert read["images"] == [
        {"role": "control", "kind": "canny", "weight": 0.8, "start": 0.1, "end": 0.5},
        {"role": "reference", "kind": "style", "weight": 0.6, "start": 0.0, "end": 1.0},
    ]


def test_every_sampler_has_a_name_that_is_read_back():
    assert {name: read_sampler(written) for name, written in SAMPLER_NAMES.items()} == {
        name: (name, "") for name in SAMPLERS
    }


def test_unknown_and_invalid_images_of_easels_json_are_dropped():
    images = [{"role": "init", "kind": ""}, {"role": "control", "kind": "x"}, 5, {"role": "control"}]
    images += [{"role": "control", "kind": "depth", "weight": float("nan"), "start": "x", "end": 7, "id": "a" * 64}]
    data = {"easel": 1, "command": "imagine", "options": {"prompt": "a"}, "images": images}

    read = parse_generation_metadata({"easel": json.dumps(data)})

    assert read is not None
    assert read["images"] == [{"role": "control", "kind": "depth", "weight": 1.0, "start": 0.0, "end": 1.0}]


def test_prompt_syntax_survives_in_the_a1111_text():
    prompt, negative = TRICKY[-2], "[red|blue], (x:-1)"
    task = make_request(prompt, negative_prompt=negative)

    read = parse_generation_metadata({"parameters": generation_metadata(task, make_image())[0]})

    assert read is not None
    assert (read["options"]["prompt"], read["options"]["negative_prompt"]) == (prompt, negative)


def test_the_metadata_of_a1111_in_a_png_is_read():
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", A1111)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "PNG", pnginfo=chunks)

    assert metadata_of(out.getvalue()) == {"source": "a1111", "command": "imagine", "options": A1111_OPTIONS}


def test_the_metadata_of_a1111_in_a_jpeg_is_read():
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[0x9286] = user_comment(A1111)
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG", exif=exif)

    metadata = metadata_of(out.getvalue())

    assert metadata is not None
    assert metadata["options"] == A1111_OPTIONS


COMFY = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 42,
            "steps": 25,
            "cfg": 6.5,
            "sampler_name": "euler_ancestral",
            "scheduler": "normal",
            "denoise": 1.0,
            "model": ["10", 0],
            "positive": ["6", 0],
            "negative": ["7", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd15.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 640, "height": 448, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a lake", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "people", "clip": ["4", 1]}},
    "10": {"class_type": "LoraLoader", "inputs": {"lora_name": "x", "model": ["4", 0], "clip": ["4", 1]}},
}


def test_the_metadata_of_comfyui_is_read_as_far_as_possible():
    assert parse_generation_metadata({"prompt": json.dumps(COMFY)}) == {
        "source": "comfyui",
        "command": "imagine",
        "options": {
            "prompt": "a lake <lora:x:1>",
            "negative_prompt": "people",
            "steps": 25,
            "sampler": "euler_a",
            "guidance_scale": 6.5,
            "seed": 42,
            "width": 640,
            "height": 448,
            "model": "sd15.safetensors",
        },
    }


def test_a_cyclic_graph_is_handled():
    graph = {
        "1": {"class_type": "KSampler", "inputs": {"positive": ["2", 0]}},
        "2": {"class_type": "X", "inputs": {"conditioning": ["2", 0]}},
    }

    assert parse_generation_metadata({"prompt": json.dumps(graph)}) == {
        "source": "comfyui",
        "command": "imagine",
        "options": {"prompt": ""},
    }


@pytest.mark.parametrize(
    "easel",
    [
        '{"easel": 1}',
        '{"easel": 2, "command": "imagine", "options": {}}',
        '{"easel": 1, "command": "rm -rf", "options": {}}',
        '{"easel": 1, "command": "imagine", "options": []}',
        "[" * 50_000,
        '{"easel": 1, "command": "imagine", "options": {"prompt": "' + "x" * 200_000 + '"}}',
        "null",
        "NaN",
        "9" * 10_000,
    ],
)
def test_invalid_easel_metadata_is_ignored(easel):
    assert parse_generation_metadata({"easel": easel}) is None


def test_invalid_values_are_dropped():
    options = {"prompt": "a fox", "steps": 1e400, "seed": [1], "Odd Name": 1, "x": 2**60, "width": None, "nested": {}}
    data = {"easel": 1, "command": "imagine", "options": options}

    metadata = parse_generation_metadata({"easel": json.dumps(data)})

    assert metadata is not None
    assert metadata["options"] == {"prompt": "a fox"}


def test_numbers_out_of_range_are_dropped():
    metadata = parse_generation_metadata(
        {"parameters": "x\nSteps: 99999999, Seed: -1, Size: 0x70000, CFG scale: nan, Sampler: Magic"}
    )

    assert metadata is not None
    assert metadata["options"] == {"prompt": "x"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
texts = st.text(max_size=400) | json_values.map(json.dumps) | st.text(max_size=60).map(lambda t: f"{t}\nSteps: {t}")
graphs = st.dictionaries(
    st.sampled_from("123"),
    st.fixed_dictionaries(
        {
            "class_type": st.sampled_from(["KSampler", "CLIPTextEncode", "X"]) | json_values,
            "inputs": st.dictionaries(
                st.sampled_from(["positive", "text", "seed", "model", "width", "latent_image", "denoise"]),
                json_values | st.tuples(st.sampled_from("123"), st.just(0)).map(list),
            )
            | json_values,
        }
    )
    | json_values,
).map(json.dumps)


@given(easel=texts, xmp=texts, parameters=texts, comfyui=texts | graphs)
@settings(max_examples=300, deadline=None)
def test_no_metadata_raises_and_the_result_is_json(easel, xmp, parameters, comfyui):
    metadata = parse_generation_metadata({"easel": easel, "xmp": xmp, "parameters": parameters, "prompt": comfyui})

    if metadata is not None:
        assert isinstance(metadata["options"].get("prompt", ""), str)
        json.dumps(metadata, allow_nan=False).encode()


@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda tail: b"UNICODE\0" + tail))
@settings(max_examples=100, deadline=None)
def test_no_user_comment_raises(value):
    assert isinstance(comment_text(value), str)


def test_a_long_malformed_line_is_parsed_quickly():
    import time

    started_at = time.process_time()
    parse_generation_metadata({"parameters": "x\nSteps: " + "a" * 90_000})
    parse_generation_metadata({"parameters": "x\nSteps: " + 'a: "' * 20_000})

    assert time.process_time() - started_at < 1
