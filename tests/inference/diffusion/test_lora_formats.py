"""Formats of LoRAs: each changes the weights by its formula, written out here or computed by peft, or is refused."""

import copy
import json
import math
from pathlib import Path

import peft
import pytest
import torch
from diffusers import Flux2KleinPipeline, StableDiffusionPipeline
from safetensors.torch import save_file

from bot.errors import InvalidOption
from bot.model_install import addon_files
from bot.ports import PromptAddon
from inference.diffusion.lora import LoraManager, base_model_family
from inference.diffusion.lora_weights import UnsupportedLora, load_factors
from tests.inference.families import save_klein
from tests.inference.tiny import save_diffusion

ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_v"
CONV = "down_blocks.0.resnets.0.conv1"
TEXT = "layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    torch.set_num_threads(1)
    return StableDiffusionPipeline.from_pretrained(save_diffusion(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def draw():
    generator = torch.Generator().manual_seed(3)
    return lambda *shape: torch.randn(shape, generator=generator)


@pytest.fixture
def changes(pipeline, tmp_path):
    """The change of each layer's weight by a file with these tensors."""

    def read(tensors, metadata=None):
        path = tmp_path / "x.safetensors"
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
        state = load_factors(path, pipeline)
        layers = {name.removesuffix(".lora_A.weight") for name in state if name.endswith("lora_A.weight")}
        return {
            layer: state[f"{layer}.lora_B.weight"].flatten(1) @ state[f"{layer}.lora_A.weight"].flatten(1)
            for layer in layers
        }

    return read


def weight_of(pipeline, layer: str) -> torch.Tensor:
    component, _, name = layer.partition(".")
    return getattr(pipeline, component).get_submodule(name).weight.detach()


def kohya(layer: str) -> str:
    return "lora_unet_" + layer.replace(".", "_")


def one_change(changes, tensors, metadata=None) -> torch.Tensor:
    (change,) = changes(tensors, metadata).values()
    return change


@pytest.mark.parametrize("layer", [ATTENTION, CONV])
def test_a_lora_of_kohya_is_scaled_by_alpha(pipeline, changes, draw, layer):
    weight = weight_of(pipeline, f"unet.{layer}")
    down, up = draw(4, *weight.shape[1:]), draw(weight.shape[0], 4, *[1] * (weight.ndim - 2))

    change = one_change(
        changes,
        {f"{kohya(layer)}.lora_down.weight": down, f"{kohya(layer)}.lora_up.weight": up,
         f"{kohya(layer)}.alpha": torch.tensor(2.0)},
    )  # fmt: skip

    torch.testing.assert_close(change, up.flatten(1) @ down.flatten(1) / 2)


def test_a_locon_with_a_core_is_the_product_of_its_three_parts(pipeline, changes, draw):
    rows, columns, *kernel = weight_of(pipeline, f"unet.{CONV}").shape
    down, mid, up = draw(3, columns, 1, 1), draw(3, 3, *kernel), draw(rows, 3, 1, 1)

    change = one_change(
        changes,
        {f"{kohya(CONV)}.lora_down.weight": down, f"{kohya(CONV)}.lora_mid.weight": mid,
         f"{kohya(CONV)}.lora_up.weight": up, f"{kohya(CONV)}.alpha": torch.tensor(6.0)},
    )  # fmt: skip

    applied = torch.nn.functional.conv2d(torch.eye(columns)[:, :, None, None], down)  # (columns, rank, 1, 1)
    kernel_of_all = torch.einsum("or,rshw,cs->ochw", up[:, :, 0, 0], mid, applied[:, :, 0, 0])
    torch.testing.assert_close(change, 2 * kernel_of_all.flatten(1))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("layer", [ATTENTION, CONV])
def test_a_dora_has_rows_or_columns_of_its_lengths(pipeline, changes, draw, layer, axis):
    weight = weight_of(pipeline, f"unet.{layer}")
    shape = [1] * weight.ndim
    shape[axis] = weight.shape[axis]
    down, up, lengths = draw(4, *weight.shape[1:]), draw(weight.shape[0], 4), draw(*shape).abs()
    up = up if weight.ndim == 2 else up[:, :, None, None]

    change = one_change(
        changes,
        {f"{kohya(layer)}.lora_down.weight": down, f"{kohya(layer)}.lora_up.weight": up,
         f"{kohya(layer)}.alpha": torch.tensor(1.0), f"{kohya(layer)}.dora_scale": lengths},
    )  # fmt: skip

    changed = weight + change.reshape(weight.shape)
    direction = weight + (up.flatten(1) @ down.flatten(1) / 4).reshape(weight.shape)
    torch.testing.assert_close(changed.movedim(axis, 0).flatten(1).norm(dim=1), lengths.flatten())
    cosine = torch.nn.functional.cosine_similarity(
        changed.movedim(axis, 0).flatten(1), direction.movedim(axis, 0).flatten(1)
    )
    torch.testing.assert_close(cosine, torch.ones_like(cosine))


@pytest.mark.parametrize(
    ("config", "prefix"),
    [
        (peft.LoraConfig(r=4, lora_alpha=2, use_dora=True), "lora"),
        (peft.LoraConfig(r=4, lora_alpha=2, use_dora=True, target_modules=[CONV]), "lora"),
        (peft.LoraConfig(r=4, lora_alpha=8, use_rslora=True), "lora"),
        (peft.LoHaConfig(r=2, alpha=4), "hada"),
        (peft.LoHaConfig(r=9, alpha=4), "hada"),
        (peft.LoKrConfig(r=2, alpha=4, decompose_factor=4), "lokr"),
        (peft.LoKrConfig(r=2, alpha=4, decompose_both=True), "lokr"),
        (peft.LoHaConfig(r=2, alpha=4, use_effective_conv2d=True, target_modules=[CONV]), "hada"),
        (peft.LoKrConfig(r=1, alpha=4, use_effective_conv2d=True, target_modules=[CONV]), "lokr"),
    ],
)
def test_what_peft_trains_has_the_weights_that_peft_merges(pipeline, changes, config, prefix):
    config = copy.deepcopy(config)
    layer = CONV if config.target_modules else ATTENTION
    config.target_modules, config.init_weights = [layer], False
    if prefix == "lora":
        config.init_lora_weights = False
    torch.manual_seed(5)
    model = peft.get_peft_model(copy.deepcopy(pipeline.unet), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "magnitude" in name:
                parameter.mul_(1.5)
    tensors = {f"unet.{name.removeprefix('base_model.model.')}": tensor
               for name, tensor in peft.get_peft_model_state_dict(model).items()}  # fmt: skip
    metadata = None
    if prefix == "lora":
        fields = {"unet.lora_alpha": config.lora_alpha, "unet.r": 4, "unet.use_rslora": config.use_rslora}
        metadata = {"lora_adapter_metadata": json.dumps(fields)}
    else:
        tensors[f"unet.{layer}.alpha"] = torch.tensor(float(config.alpha))

    change = one_change(changes, tensors, metadata)

    weight = weight_of(pipeline, f"unet.{layer}")
    merged = model.merge_and_unload().get_submodule(layer).weight.detach()
    torch.testing.assert_close(weight + change.reshape(weight.shape), merged, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("is_copied", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        peft.LoraConfig(r=4, lora_alpha=2, use_dora=True),
        peft.LoraConfig(r=4, lora_alpha=8, use_rslora=True),
        peft.LoraConfig(r=4, alpha_pattern={"attn1.to_v": 12}),
        peft.LoHaConfig(r=2, alpha=8),
        peft.LoKrConfig(r=64, alpha=32),
    ],
)
def test_what_peft_saves_is_scaled_by_the_configuration_beside_it(pipeline, tmp_path, config, is_copied):
    config = copy.deepcopy(config)
    config.target_modules, config.init_weights = [ATTENTION], False
    if isinstance(config, peft.LoraConfig):
        config.init_lora_weights = False
    model = peft.get_peft_model(copy.deepcopy(pipeline.unet), config)
    model.save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    if is_copied:
        addon = PromptAddon(name="x", kind="lora", family="", size=0)
        path = Path(addon_files.store_addon(tmp_path / "data", path, addon).path)

    state = load_factors(path, pipeline)

    change = state[f"unet.{ATTENTION}.lora_B.weight"] @ state[f"unet.{ATTENTION}.lora_A.weight"]
    merged = model.merge_and_unload().get_submodule(ATTENTION).weight.detach()
    torch.testing.assert_close(weight_of(pipeline, f"unet.{ATTENTION}") + change, merged, atol=1e-5, rtol=1e-4)


def test_a_lokr_of_two_whole_parts_is_their_product_whatever_its_alpha(pipeline, changes, draw):
    rows, columns = weight_of(pipeline, f"unet.{ATTENTION}").shape
    first, second = draw(4, 2), draw(rows // 4, columns // 2)

    change = one_change(
        changes,
        {f"{kohya(ATTENTION)}.lokr_w1": first, f"{kohya(ATTENTION)}.lokr_w2": second,
         f"{kohya(ATTENTION)}.alpha": torch.tensor(7.0)},
    )  # fmt: skip

    torch.testing.assert_close(change, torch.kron(first, second))


@pytest.mark.parametrize("is_input", [True, False])
def test_ia3_multiplies_rows_or_columns(pipeline, changes, draw, is_input):
    weight = weight_of(pipeline, f"unet.{ATTENTION}")
    factor = draw(weight.shape[1 if is_input else 0])

    change = one_change(
        changes, {f"{kohya(ATTENTION)}.weight": factor, f"{kohya(ATTENTION)}.on_input": torch.tensor(is_input)}
    )

    torch.testing.assert_close(change, weight * (factor[None] if is_input else factor[:, None]))


# ---------------------------------------------------------------- through the model


def save_pair(draw, pipeline, layer: str, down: str, up: str) -> dict[str, torch.Tensor]:
    rows, columns = weight_of(pipeline, layer).shape
    return {down: draw(2, columns), up: draw(rows, 2)}


def predict(pipeline) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn((1, 4, 2, 2), generator=generator)
    with torch.no_grad():
        return pipeline.unet(latents, 10, pipeline.text_encoder(torch.arange(1, 9)[None])[0]).sample


NAMES = {
    "kohya": (f"unet.{ATTENTION}", kohya(ATTENTION) + ".lora_down.weight", kohya(ATTENTION) + ".lora_up.weight"),
    "kohya with the original names": (
        f"unet.{ATTENTION}",
        *(f"lora_unet_input_blocks_3_1_transformer_blocks_0_attn1_to_v.lora_{part}.weight" for part in ("down", "up")),
    ),
    "ComfyUI": (
        f"unet.{ATTENTION}",
        *(f"diffusion_model.input_blocks.3.1.transformer_blocks.0.attn1.to_v.lora_{part}.weight" for part in "AB"),
    ),
    "Diffusers 2023": (
        f"unet.{ATTENTION}",
        *(f"unet.{ATTENTION.replace('.to_v', '.processor.to_v')}_lora.{part}.weight" for part in ("down", "up")),
    ),
    "Diffusers 2023, output": (
        f"unet.{ATTENTION.replace('.to_v', '.to_out.0')}",
        *(f"{ATTENTION.replace('.to_v', '.processor.to_out')}_lora.{part}.weight" for part in ("down", "up")),
    ),
    "peft": (f"unet.{ATTENTION}", *(f"base_model.model.unet.{ATTENTION}.lora_{part}.weight" for part in "AB")),
    "sd-scripts' text encoder only": (
        f"text_encoder.encoder.{TEXT}",
        *(f"lora_te_text_model_encoder_{TEXT.replace('.', '_')}.lora_{part}.weight" for part in ("down", "up")),
    ),
    "ComfyUI's text encoder": (
        f"text_encoder.encoder.{TEXT}",
        *(f"text_encoders.clip_l.transformer.text_model.encoder.{TEXT}.lora_{part}.weight" for part in ("down", "up")),
    ),
    "Diffusers' text encoder": (
        f"text_encoder.encoder.{TEXT}",
        *(f"text_encoder.text_model.encoder.{TEXT}.lora_linear_layer.{part}.weight" for part in ("down", "up")),
    ),
    "Diffusers' text encoder 2023": (
        f"text_encoder.encoder.{TEXT}",
        *(f"text_encoder.text_model.encoder.{TEXT.replace('q_proj', 'to_q')}_lora.{part}.weight"
          for part in ("down", "up")),
    ),
}  # fmt: skip


def layer_in(pipeline, layer: str) -> str:
    """Transformers 4 has one more level in text encoders."""
    return layer if hasattr(pipeline.text_encoder, "encoder") else layer.replace("encoder.", "encoder.text_model.", 1)


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_every_naming_changes_the_same_layer(pipeline, changes, draw, names):
    layer, down, up = names
    layer = layer_in(pipeline, layer)
    tensors = save_pair(draw, pipeline, layer, down, up)

    found = changes(tensors)

    assert found.keys() == {layer}
    torch.testing.assert_close(found[layer], tensors[up] @ tensors[down])


@pytest.mark.parametrize("naming", ["kohya", "Diffusers' text encoder"])
def test_the_model_predicts_what_it_would_with_changed_weights(pipeline, draw, tmp_path, naming):
    layer, down, up = NAMES[naming]
    layer = layer_in(pipeline, layer)
    tensors = save_pair(draw, pipeline, layer, down, up)
    save_file(tensors, tmp_path / "x.safetensors")
    merged = copy.deepcopy(pipeline)
    with torch.no_grad():
        component, _, name = layer.partition(".")
        getattr(merged, component).get_submodule(name).weight += 0.5 * tensors[up] @ tensors[down]

    manager = LoraManager(copy.deepcopy(pipeline))
    manager.apply(((str(tmp_path / "x.safetensors"), 0.5),))

    expected = predict(merged)
    assert not torch.allclose(expected, predict(pipeline), atol=1e-4)
    torch.testing.assert_close(predict(manager._pipeline), expected, atol=1e-4, rtol=1e-4)


def test_whole_differences_change_weights_and_biases(pipeline, draw, tmp_path):
    merged = copy.deepcopy(pipeline)
    output = ATTENTION.replace(".to_v", ".to_out.0")
    tensors: dict[str, torch.Tensor] = {}
    for layer in (CONV, output, ATTENTION):
        module = merged.unet.get_submodule(layer)
        with torch.no_grad():
            for part, parameter in (("diff", module.weight), ("diff_b", module.bias)):
                if parameter is not None:
                    tensors[f"{kohya(layer)}.{part}"] = change = draw(*parameter.shape) / 8
                    parameter += 0.5 * change
    save_file(tensors, tmp_path / "x.safetensors")

    manager = LoraManager(copy.deepcopy(pipeline))
    manager.apply(((str(tmp_path / "x.safetensors"), 0.5),))

    torch.testing.assert_close(predict(manager._pipeline), predict(merged), atol=1e-4, rtol=1e-4)


def test_layers_of_different_ranks_keep_their_scale(pipeline, changes, draw):
    tensors: dict[str, torch.Tensor] = {}
    expected: dict[str, torch.Tensor] = {}
    for rank, part in ((2, "to_q"), (2, "to_k"), (5, "to_v")):
        layer = ATTENTION.replace("to_v", part)
        rows, columns = weight_of(pipeline, f"unet.{layer}").shape
        tensors |= {f"unet.{layer}.lora_A.weight": draw(rank, columns), f"unet.{layer}.lora_B.weight": draw(rows, rank)}
        expected[f"unet.{layer}"] = tensors[f"unet.{layer}.lora_B.weight"] @ tensors[f"unet.{layer}.lora_A.weight"]

    found = changes(tensors)

    for layer, change in expected.items():
        torch.testing.assert_close(found[layer], change)


@pytest.mark.parametrize(
    "tensors",
    [
        {f"{kohya('down_blocks.9.attentions.0.proj_in')}.lora_{part}.weight": (2, 2) for part in ("down", "up")},
        {f"lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_{part}.weight": (2, 2) for part in ("down", "up")},
        {f"{kohya(ATTENTION)}.lora_down.weight": (2, 5), f"{kohya(ATTENTION)}.lora_up.weight": (3, 2)},
    ],
)
def test_weights_for_layers_that_the_model_lacks_are_refused(pipeline, tmp_path, tensors):
    path = tmp_path / "x.safetensors"
    save_file({name: torch.zeros(shape) for name, shape in tensors.items()}, path)

    with pytest.raises(UnsupportedLora):
        load_factors(path, pipeline)
    with pytest.raises(InvalidOption):
        LoraManager(copy.deepcopy(pipeline)).apply(((str(path), 1.0),))


@pytest.mark.parametrize("prefix", ["transformer", "diffusion_model"])
def test_a_lora_of_a_transformer_is_loaded_whole_or_refused(klein, tmp_path, prefix):
    rows, columns = klein.transformer.get_submodule("transformer_blocks.0.attn.to_q").weight.shape
    tensors: dict[str, torch.Tensor] = {}
    for block in (0, 7):
        layer = f"{prefix}.transformer_blocks.{block}.attn.to_q"
        tensors |= {f"{layer}.lora_A.weight": torch.ones(2, columns), f"{layer}.lora_B.weight": torch.ones(rows, 2)}
        save_file(tensors, tmp_path / f"{block}.safetensors")
    manager = LoraManager(klein)

    manager.apply(((str(tmp_path / "0.safetensors"), 1.0),))
    with pytest.raises(InvalidOption):
        manager.apply(((str(tmp_path / "7.safetensors"), 1.0),))
    manager.unload_all()

    assert base_model_family(klein) == "flux2-klein"


@pytest.fixture(scope="module")
def klein(tmp_path_factory):
    return Flux2KleinPipeline.from_pretrained(save_klein(tmp_path_factory.mktemp("models") / "klein"))


# ---------------------------------------------------------------- not finite


@pytest.mark.parametrize("name", ["lora_down.weight", "alpha"])
def test_weights_that_are_not_finite_are_refused_when_used(pipeline, draw, tmp_path, name):
    tensors = save_pair(draw, pipeline, f"unet.{ATTENTION}", *NAMES["kohya"][1:])
    tensors[f"{kohya(ATTENTION)}.{name}"] = torch.full((2, 32) if name != "alpha" else (), math.nan)
    save_file(tensors, tmp_path / "x.safetensors")

    with pytest.raises(UnsupportedLora):
        load_factors(tmp_path / "x.safetensors", pipeline)
