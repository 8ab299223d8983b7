"""The networks of upscalers: RRDBNet and SRVGGNetCompact, with BasicSR's names of weights.

Written from the papers and the layout of published files. Sources: ESRGAN (arXiv 1809.00219), Real-ESRGAN (arXiv
2107.10833).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import PreTrainedModel

from inference.checkpoints.upscaler_layout import RRDB, UpscalerLayout, plain_names

_RESIDUAL = 0.2
"""The share of a block's result that is added to its input."""


def _conv(channels: int, features: int) -> nn.Conv2d:
    return nn.Conv2d(channels, features, 3, padding=1)


def _activate(images: Tensor) -> Tensor:
    return F.leaky_relu(images, 0.2, inplace=True)


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees the results of all before it."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for number in range(4):
            self.add_module(f"conv{number + 1}", _conv(features + number * growth, growth))
        self.conv5 = _conv(features + 4 * growth, features)

    def forward(self, images: Tensor) -> Tensor:
        seen = images
        for number in range(4):
            seen = torch.cat([seen, _activate(self.get_submodule(f"conv{number + 1}")(seen))], dim=1)
        result: Tensor = images + _RESIDUAL * self.conv5(seen)
        return result


class ResidualBlock(nn.Module):
    """Three dense blocks in a row (RRDB)."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(features, growth) for _ in range(3))

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = images + _RESIDUAL * self.rdb3(self.rdb2(self.rdb1(images)))
        return result


class RRDBNet(nn.Module):
    """ESRGAN's network: images in [0, 1], shape (n, 3, height, width), float32, to the scale of its layout."""

    def __init__(self, layout: UpscalerLayout) -> None:
        super().__init__()
        features = layout.features
        self.unshuffle, self.upsamplings = layout.unshuffle, layout.upsamplings
        self.conv_first = _conv(3 * layout.unshuffle**2, features)
        self.body = nn.Sequential(*(ResidualBlock(features, layout.growth) for _ in range(layout.blocks)))
        self.conv_body = _conv(features, features)
        for number in range(layout.upsamplings):
            self.add_module(f"conv_up{number + 1}", _conv(features, features))
        self.conv_hr = _conv(features, features)
        self.conv_last = _conv(features, 3)

    def forward(self, images: Tensor) -> Tensor:
        small = images.to(self.conv_first.weight.dtype)
        first = self.conv_first(F.pixel_unshuffle(small, self.unshuffle) if self.unshuffle > 1 else small)
        hidden = first + self.conv_body(self.body(first))
        for number in range(self.upsamplings):
            larger = F.interpolate(hidden, scale_factor=2, mode="nearest")
            hidden = _activate(self.get_submodule(f"conv_up{number + 1}")(larger))
        result: Tensor = self.conv_last(_activate(self.conv_hr(hidden)).to(self.conv_last.weight.dtype))
        return result

    @property
    def last_layer(self) -> nn.Module:
        return self.conv_last


class SRVGGNetCompact(nn.Module):
    """Convolutions at the small size; their last one's channels become pixels on the enlarged image."""

    def __init__(self, layout: UpscalerLayout) -> None:
        super().__init__()
        self.scale = layout.scale
        layers: list[nn.Module] = [_conv(3, layout.features), nn.PReLU(layout.features)]
        for _ in range(layout.blocks):
            layers += [_conv(layout.features, layout.features), nn.PReLU(layout.features)]
        self.body = nn.ModuleList([*layers, _conv(layout.features, 3 * layout.scale**2)])

    def forward(self, images: Tensor) -> Tensor:
        hidden = images
        for layer in self.body:
            hidden = layer(hidden.to(layer.weight.dtype))
        enlarged = F.interpolate(images, scale_factor=float(self.scale), mode="nearest")
        return F.pixel_shuffle(hidden, self.scale) + enlarged

    @property
    def last_layer(self) -> nn.Module:
        return self.body[-1]


class Swin2SR(nn.Module):
    """Transformers' model."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.model(images.to(self.model.dtype)).reconstruction
        return result


def build_network(layout: UpscalerLayout, weights: Mapping[str, Tensor]) -> RRDBNet | SRVGGNetCompact:
    """The network with a file's weights. Raises: RuntimeError: some are missing, left over or of another shape."""
    with torch.device("meta"):
        network = RRDBNet(layout) if layout.network == RRDB else SRVGGNetCompact(layout)
    names = plain_names(weights)
    network.load_state_dict({ours: weights[theirs] for theirs, ours in names.items()}, assign=True)
    network.eval().requires_grad_(False)
    return network


def receptive_radius(layout: UpscalerLayout) -> int:
    """How far, in pixels of the small image, a result pixel depends on its surroundings."""
    if layout.network != RRDB:
        return layout.blocks + 2
    at_small_size = layout.blocks * 15 + 2  # convolutions in a row, each one pixel further
    beyond = 2 + layout.upsamplings  # at twice the size or larger
    return layout.unshuffle * (at_small_size + beyond)
