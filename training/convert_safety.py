"""Converts the classifier of npm's `nsfwjs` to `models/starter-safety`.

Run `npm pack nsfwjs@4.3.0`, then `python -m training.convert_safety nsfwjs-4.3.0.tgz`. The package holds a MobileNetV2
with 8-bit weights in TensorFlow.js' layout (MIT licence, copyright Infinite Red, Inc.), as base64 in two scripts.
"""

from __future__ import annotations

import argparse
import base64
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import MobileNetV2Config
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

LABELS = ("drawing", "hentai", "neutral", "porn", "sexy")
"""In the order of the package's `NSFW_CLASSES`."""
SIDE = 224
FOLDER = "package/dist/models/mobilenet_v2"
BLOCKS = 16
Weights = Mapping[str, np.ndarray]
_ENTRY = re.compile(
    r'name:"(?P<name>[^"]+)",shape:\[(?P<shape>[\d,]*)\],dtype:"float32"'
    r'(?:,quantization:\{min:(?P<min>[^,]+),scale:(?P<scale>[^,]+),dtype:"(?P<stored>uint8|uint16)"\})?'
)


def read_package(package: Path) -> tuple[Weights, bytes]:
    """The weights by their Keras names, in float32, and the licence's text."""
    with tarfile.open(package) as archive:

        def read(name: str) -> bytes:
            member = archive.extractfile(name)
            if member is None:
                raise SystemExit(f"{package} has no {name}")
            return member.read()

        manifest = read(f"{FOLDER}/model.min.js").decode()
        shard = _decode_script(read(f"{FOLDER}/group1-shard1of1.min.js"))
        return dict(_read_weights(manifest, shard)), read("package/LICENSE")


def _decode_script(script: bytes) -> bytes:
    """The longest base64 text in a script."""
    return base64.b64decode(max(re.findall(rb"[A-Za-z0-9+/=]{200,}", script), key=len))


def _read_weights(manifest: str, shard: bytes) -> list[tuple[str, np.ndarray]]:
    """Source: TensorFlow.js, "weightsManifest" with "quantization": value * scale + min."""
    found, at = [], 0
    for entry in _ENTRY.finditer(manifest):
        shape = [int(side) for side in entry["shape"].split(",") if side]
        count, kind = int(np.prod(shape)), np.dtype(entry["stored"] or "float32")
        values = np.frombuffer(shard, kind, count, at).astype(np.float32)
        if entry["stored"]:
            values = values * np.float32(entry["scale"]) + np.float32(entry["min"])
        found.append((entry["name"], values.reshape(shape)))
        at += count * kind.itemsize
    if at != len(shard):
        raise SystemExit(f"the weights have {len(shard)} bytes, expected {at}")
    return found


def convert_weights(weights: Weights) -> dict[str, Tensor]:
    """In Transformers' names and layouts."""
    state: dict[str, Tensor] = {}

    def convert(target: str, layer: str, norm: str, *, is_depthwise: bool = False) -> None:
        kernel = weights[f"{layer}/{'depthwise_kernel' if is_depthwise else 'kernel'}"]
        order = (2, 3, 0, 1) if is_depthwise else (3, 2, 0, 1)
        state[f"{target}.convolution.weight"] = torch.from_numpy(kernel.transpose(order).copy())
        for ours, theirs in (
            ("weight", "gamma"),
            ("bias", "beta"),
            ("running_mean", "moving_mean"),
            ("running_var", "moving_variance"),
        ):
            state[f"{target}.normalization.{ours}"] = torch.from_numpy(weights[f"{norm}/{theirs}"].copy())
        state[f"{target}.normalization.num_batches_tracked"] = torch.tensor(0)

    trunk = "mobilenet_v2"
    convert(f"{trunk}.conv_stem.first_conv", "Conv1", "bn_Conv1")
    first = "expanded_conv_"
    convert(f"{trunk}.conv_stem.conv_3x3", f"{first}depthwise", f"{first}depthwise_BN", is_depthwise=True)
    convert(f"{trunk}.conv_stem.reduce_1x1", f"{first}project", f"{first}project_BN")
    for number in range(BLOCKS):
        theirs, ours = f"block_{number + 1}_", f"{trunk}.layer.{number}"
        convert(f"{ours}.expand_1x1", f"{theirs}expand", f"{theirs}expand_BN")
        convert(f"{ours}.conv_3x3", f"{theirs}depthwise", f"{theirs}depthwise_BN", is_depthwise=True)
        convert(f"{ours}.reduce_1x1", f"{theirs}project", f"{theirs}project_BN")
    convert(f"{trunk}.conv_1x1", "Conv_1", "Conv_1_bn")
    for number in range(3):
        dense = f"dense_{number + 1}"
        state[f"classifier.{2 * number}.weight"] = torch.from_numpy(weights[f"{dense}/kernel"].T.copy())
        state[f"classifier.{2 * number}.bias"] = torch.from_numpy(weights[f"{dense}/bias"].copy())
    return state


def build_config(state: Mapping[str, Tensor]) -> MobileNetV2Config:
    """`head_sizes` is read by `inference.safety.dense_head`."""
    return MobileNetV2Config(
        architectures=["MobileNetV2WithDenseHead"],
        image_size=SIDE,
        classifier_dropout_prob=0.0,
        dtype="float16",
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
        head_sizes=[len(state["classifier.0.bias"]), len(state["classifier.2.bias"])],
    )


def convert_package(package: Path, folder: Path) -> None:
    weights, licence = read_package(package)
    state = convert_weights(weights)
    build_config(state).save_pretrained(folder)
    halves = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    size = {"height": SIDE, "width": SIDE}
    ViTImageProcessorPil(size=size, do_normalize=False).save_pretrained(folder)
    (folder / "LICENSE").write_bytes(licence)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--out", type=Path, default=Path("models/starter-safety"))
    options = parser.parse_args()
    convert_package(options.package, options.out)
