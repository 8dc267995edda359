"""The same U-Net in plain PyTorch, channels last, with the weights of a Keras one."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import torch
from torch import nn
from torch.nn import functional

from kerasunet.architecture import Architecture


class TorchUNet(nn.Module):
    """A U-Net with batch normalization, named as in Keras: `enc1_conv1`, `dec2_up`, …"""

    def __init__(self, channels: int, base_filters: int, depth: int):
        super().__init__()
        self._depth = depth
        widths = [base_filters * 2**level for level in range(depth + 1)]
        for level, width in enumerate(widths[:-1], start=1):
            self._add_block(f"enc{level}", channels if level == 1 else width // 2, width)
            self._add_block(f"dec{level}", 2 * width, width)
            self.add_module(f"dec{level}_up", nn.ConvTranspose2d(2 * width, width, 2, stride=2))
        self._add_block("bottleneck", widths[-2], widths[-1])
        self.add_module("head", nn.Conv2d(base_filters, 1, 1))

    def _add_block(self, name: str, channels: int, width: int) -> None:
        for index, given in ((1, channels), (2, width)):
            self.add_module(f"{name}_conv{index}", nn.Conv2d(given, width, 3, 1, 1, bias=False))
            self.add_module(f"{name}_norm{index}", nn.BatchNorm2d(width, eps=1e-3))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Map gray levels, `(batch, channels, height, width)`, to probabilities."""
        mean = image.mean((1, 2, 3), keepdim=True)
        variance = image.var((1, 2, 3), correction=0, keepdim=True)
        x = (image - mean) / torch.sqrt(variance + 1)
        skips = []
        for level in range(1, self._depth + 1):
            x = self._block(f"enc{level}", x)
            skips.append(x)
            x = functional.max_pool2d(x, 2)
        x = self._block("bottleneck", x)
        for level in range(self._depth, 0, -1):
            x = torch.cat([skips[level - 1], getattr(self, f"dec{level}_up")(x)], 1)
            x = self._block(f"dec{level}", x)
        return torch.sigmoid(self.head(x))

    def _block(self, name: str, x: torch.Tensor) -> torch.Tensor:
        for index in (1, 2):
            x = getattr(self, f"{name}_conv{index}")(x)
            x = torch.relu(getattr(self, f"{name}_norm{index}")(x))
        return x


def torch_copy(model: keras.Model) -> TorchUNet:
    """Return the network in PyTorch, in inference mode and channels last."""
    shape = Architecture.of(model)
    copy = TorchUNet(shape.channels, shape.base_filters, shape.depth)
    for name, module in copy.named_children():
        weights = [torch.from_numpy(np.array(w)) for w in model.get_layer(name).get_weights()]
        if isinstance(module, nn.BatchNorm2d):
            names = ("weight", "bias", "running_mean", "running_var")
        else:
            names, weights[0] = ("weight", "bias"), weights[0].permute(3, 2, 0, 1)
        for attribute, values in zip(names, weights, strict=False):
            getattr(module, attribute).data.copy_(values)
    return copy.eval().to(memory_format=torch.channels_last)


def torch_side(model: keras.Model, image: np.ndarray) -> Callable[[], np.ndarray]:
    """Return what PyTorch does with one image, `(1, height, width, channels)`."""
    copy = torch_copy(model)
    # A view of channels-last memory: nothing is rearranged.
    tensor = torch.from_numpy(image).permute(0, 3, 1, 2)

    @torch.inference_mode()
    def run() -> np.ndarray:
        return copy(tensor).permute(0, 2, 3, 1).numpy()

    return run
