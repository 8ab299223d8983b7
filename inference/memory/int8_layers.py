"""Layers of language and vision models in 8 bits, on processors that multiply such numbers.

Weights have a scale for each output channel, and activations one for each row, found when it is computed: no row
depends on the others. On these processors torchao's layers take many times as long as float32; these take a fraction.
"""

import torch
from torch import nn

_LARGEST = 127


def has_fast_int8(device: str) -> bool:
    """Whether this device is a processor with instructions for sums of products of 8-bit numbers."""
    is_supported = getattr(torch.cpu, "_is_vnni_supported", lambda: False)
    return torch.device(device).type == "cpu" and bool(is_supported())


class Int8Linear(nn.Module):
    """A linear layer. Its outputs have the number format of its inputs."""

    weight: torch.Tensor
    scale: torch.Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        values, scale = _quantize_rows(layer.weight.detach().float())
        self.register_buffer("weight", values)
        self.register_buffer("scale", scale.squeeze(1))
        self.bias = layer.bias

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if not inputs.numel():
            return inputs.new_empty(*inputs.shape[:-1], self.out_features)
        values, scale = _quantize_rows(inputs.reshape(-1, self.in_features).float())
        outputs = torch._int_mm(values, self.weight.t()).float() * scale * self.scale
        if self.bias is not None:
            outputs = outputs + self.bias
        return outputs.to(inputs.dtype).reshape(*inputs.shape[:-1], self.out_features)


def _quantize_rows(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """8-bit values, and the scale of each row, (rows, 1), which is not finite if one of the row's values is not."""
    scale = rows.abs().amax(dim=1, keepdim=True) / _LARGEST
    scale = torch.where(scale == 0, 1.0, scale)
    return (rows / scale).round().to(torch.int8), scale
