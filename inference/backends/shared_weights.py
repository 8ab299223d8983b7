"""Copies of modules that can be changed for export, and that need no memory of their own for weights."""

import copy
from typing import Any

import torch


def copy_with_shared_weights(module: torch.nn.Module) -> torch.nn.Module:
    """A copy with the same parameters and buffers. Its layers are made of operations that every exporter knows."""
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    copied = copy.deepcopy(module, shared)
    for parent in list(copied.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is torch.nn.RMSNorm:
                setattr(parent, name, PlainRMSNorm(child))
    return copied


class PlainRMSNorm(torch.nn.Module):
    """`torch.nn.RMSNorm` over the last axis, which torch's older exporter to ONNX does not know."""

    def __init__(self, norm: torch.nn.RMSNorm) -> None:
        super().__init__()
        self.weight = norm.weight
        self.eps = torch.finfo(torch.float32).eps if norm.eps is None else norm.eps

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        scaled = values * torch.rsqrt(values.pow(2).mean(-1, keepdim=True) + self.eps)
        return scaled if self.weight is None else scaled * self.weight
