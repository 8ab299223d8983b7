"""Graphs of ComfyUI that all make the same picture, as people wire them."""

CAT = {
    "prompt": "a cat",
    "negative_prompt": "dog",
    "steps": 20,
    "sampler": "euler_a",
    "guidance_scale": 7.0,
    "seed": 42,
    "width": 512,
    "height": 768,
}


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


BASE = {
    "3": node(
        "KSampler",
        seed=42,
        steps=20,
        cfg=7.0,
        sampler_name="euler_ancestral",
        denoise=1.0,
        model=["4", 0],
        positive=["6", 0],
        negative=["7", 0],
        latent_image=["5", 0],
    ),
    "4": node("CheckpointLoaderSimple", ckpt_name="m.safetensors"),
    "5": node("EmptyLatentImage", width=512, height=768),
    "6": node("CLIPTextEncode", text="a cat", clip=["4", 1]),
    "7": node("CLIPTextEncode", text="dog", clip=["4", 1]),
    "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
    "9": node("SaveImage", images=["8", 0]),
}
COMFY_CAT = CAT | {"model": "m.safetensors"}


def with_sampler(**inputs):
    return BASE | {"3": node("KSampler", **(BASE["3"]["inputs"] | inputs))}


def custom_sampler(guider, **inputs):
    nodes = {"10": guider, "11": node("KSamplerSelect", sampler_name="euler_ancestral")}
    nodes["12"] = node("BasicScheduler", scheduler="normal", steps=20, denoise=1.0, model=["4", 0])
    nodes["13"] = node("RandomNoise", noise_seed=42)
    links = {"noise": ["13", 0], "guider": ["10", 0], "sampler": ["11", 0], "sigmas": ["12", 0]}
    return BASE | nodes | {"3": node("SamplerCustomAdvanced", **links, latent_image=["5", 0])} | inputs


def without(inputs, *names):
    return {name: value for name, value in inputs.items() if name not in names}


LOADER = {"positive": "a cat", "negative": "dog", "empty_latent_width": 512, "empty_latent_height": 768}
PAIR = {"positive": ["6", 0], "negative": ["7", 0]}
GRAPHS = {
    "a plain one": BASE,
    "Apply ControlNet, whose second output is the negative one": with_sampler(positive=["12", 0], negative=["12", 1])
    | {"12": node("ControlNetApplyAdvanced", strength=1.0, control_net=["13", 0], image=["14", 0], **PAIR)},
    "two in a row, linked crosswise": with_sampler(positive=["15", 0], negative=["15", 1])
    | {"12": node("ControlNetApplyAdvanced", negative=["7", 0], positive=["6", 0])}
    | {"15": node("ControlNetApplyAdvanced", negative=["12", 1], positive=["12", 0])},
    "reroutes": with_sampler(positive=["20", 0], latent_image=["21", 0])
    | {"20": node("Reroute", **{"": ["6", 0]}), "21": node("Reroute", **{"": ["5", 0]})},
    "a text and numbers of primitive nodes": with_sampler(seed=["20", 0], steps=["21", 0], cfg=["22", 0])
    | {"20": node("Seed (rgthree)", seed=42), "21": node("PrimitiveInt", value=20)}
    | {"22": node("Float", value=["23", 0]), "23": node("PrimitiveFloat", value=7.0)}
    | {"6": node("CLIPTextEncode", text=["24", 0], clip=["4", 1])}
    | {"24": node("PrimitiveStringMultiline", value="a cat")},
    "joined texts": BASE
    | {"6": node("CLIPTextEncode", clip=["4", 1], text=["20", 0])}
    | {"20": node("StringConcatenate", string_a="a", string_b=["21", 0], delimiter=" ")}
    | {"21": node("String Literal", string="cat")},
    "joined conditionings": with_sampler(positive=["20", 0])
    | {"20": node("ConditioningConcat", conditioning_to=["6", 0], conditioning_from=["21", 0])}
    | {"21": node("CLIPTextEncode", text="a cat", clip=["4", 1])},
    "SDXL's encoder": BASE
    | {"6": node("CLIPTextEncodeSDXL", width=1024, height=1024, text_g="a cat", text_l="a cat", clip=["4", 1])},
    "a LoRA loader that has a text of its own": BASE
    | {"6": node("CLIPTextEncode", text="a cat", clip=["20", 1])}
    | {"20": node("LoraTagLoader", text="<lora:x:1>", model=["4", 0], clip=["4", 1])},
    "KSamplerAdvanced": BASE
    | {"3": node("KSamplerAdvanced", **without(BASE["3"]["inputs"], "seed", "denoise"), noise_seed=42)},
    "SamplerCustom": custom_sampler(node("X"))
    | {
        "3": node(
            "SamplerCustom", noise_seed=42, cfg=7.0, sampler=["11", 0], sigmas=["12", 0], model=["4", 0], **PAIR,
            latent_image=["5", 0],
        )
    },
    "a guider": custom_sampler(node("CFGGuider", cfg=7.0, model=["4", 0], **PAIR)),
    "sigmas that are split": custom_sampler(node("CFGGuider", cfg=7.0, model=["4", 0], **PAIR))
    | {"12": node("SplitSigmas", sigmas=["19", 0], step=3), "19": node("KarrasScheduler", steps=20)},
    "a loader that holds the prompts": with_sampler(positive=["20", 1], negative=["20", 2], latent_image=["20", 3])
    | {"20": node("Efficient Loader", **LOADER)},
    "a second pass": BASE
    | {"30": node("LatentUpscale", samples=["3", 0], width=1024, height=1536)}
    | {"1": node("KSampler", **(BASE["3"]["inputs"] | {"seed": 9, "denoise": 0.5, "latent_image": ["30", 0]}))}
    | {"8": node("VAEDecode", samples=["1", 0])},
    "a sampler that is not saved": {"0": node("KSampler", seed=1, positive=["7", 0], negative=["6", 0])} | BASE,
}  # fmt: skip
FLUX = {
    "10": node("BasicGuider", model=["30", 0], conditioning=["26", 0]),
    "26": node("FluxGuidance", guidance=3.5, conditioning=["6", 0]),
    "30": node("UNETLoader", unet_name="flux"),
}


def ui_node(name, kind, values, slots=(), **more):
    return {"id": name, "type": kind, "widgets_values": values, "inputs": list(slots), **more}


def slot(name, link, **more):
    return {"name": name, "link": link, **more}


PAIR_OF_LINKS = [slot("positive", 4), slot("negative", 6)]
WORKFLOW = {
    "nodes": [
        ui_node(1, "KSampler", [1, "fixed", 9, 1, "lms", "normal", 1], PAIR_OF_LINKS, mode=2),
        ui_node(
            3,
            "KSampler",
            [0, True, 20, 7.0, "euler_ancestral", "normal", 1],
            [slot("model", 8), *PAIR_OF_LINKS, slot("latent_image", 2), slot("seed", 9, widget={"name": "seed"})],
        ),
        ui_node(4, "CheckpointLoaderSimple", ["m.safetensors"], mode=0),
        ui_node(5, "EmptyLatentImage", [512, 768, 1]),
        ui_node(6, "CLIPTextEncode", ["a cat"], [slot("clip", 3)]),
        ui_node(7, "CLIPTextEncode", ["dog"], [slot("clip", 5)]),
        ui_node(8, "LoraLoader", ["ink", 1, 1], [slot("model", 1)], mode=4),
        ui_node(9, "PrimitiveNode", [42, "increment"]),
        ui_node(10, "Note", ["hello"]),
    ],
    "links": [
        [1, 4, 0, 8, 0, "MODEL"],
        [2, 5, 0, 3, 3, "LATENT"],
        [3, 4, 1, 6, 0, "CLIP"],
        [4, 6, 0, 3, 1, "CONDITIONING"],
        [5, 4, 1, 7, 0, "CLIP"],
        [6, 7, 0, 3, 2, "CONDITIONING"],
        [8, 8, 0, 3, 0, "MODEL"],
        [9, 9, 0, 3, 4, "INT"],
    ],
}
"""With a sampler that is muted, a bypassed LoRA, and a seed of a node of its own."""
LINK_NAMES = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
WORKFLOW_OF_2025 = WORKFLOW | {
    "nodes": [
        *WORKFLOW["nodes"][:3],
        ui_node(
            5,
            "Latent of mine",
            [7, "fixed", 512, 768],
            [slot(one, None, widget={"name": one}) for one in ("seed", "width", "height")],
        ),
        *WORKFLOW["nodes"][4:],
    ],
    "links": [dict(zip(LINK_NAMES, link, strict=True)) for link in WORKFLOW["links"]],
}
"""With a custom node whose settings the file names."""
