"""Training steps in PyTorch, channels last, for networks of this and other packages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy

_MONAI_LEVELS = 5
_SUPPRESSION = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def training_step(
    network: nn.Module,
    batch: tuple[np.ndarray, np.ndarray],
    *,
    device: str = "cpu",
    bfloat16: bool = False,
) -> Callable[[], float]:
    """Return a step of Adam on Dice plus cross-entropy, as this package takes it; all trains.

    Args:
        network: Maps `(batch, 1, height, width)` to probabilities of that shape.
        batch: Images, `(batch, height, width, 1)`, and masks of that shape, copied to the device
            in every step.
        device: Where it computes.
        bfloat16: Compute the network by `autocast`, the loss in float32.
    """
    # A view of channels-last memory: nothing is rearranged.
    given = [torch.from_numpy(np.ascontiguousarray(a)).permute(0, 3, 1, 2) for a in batch]
    network.train().to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)

    def step() -> float:
        images, masks = (array.to(device, non_blocking=True) for array in given)
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            predicted = network(images)
        predicted = predicted.float()
        overlap = 2 * (predicted * masks).sum((1, 2, 3)) + 1
        dice = overlap / (predicted.sum((1, 2, 3)) + masks.sum((1, 2, 3)) + 1)
        loss = binary_cross_entropy(predicted, masks) + (1 - dice).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        return float(loss.detach())

    return step


def monai_networks(width: int) -> dict[str, nn.Module]:
    """MONAI's `BasicUNet` and `UNet` of five levels of this width, with batch normalization.

    `UNet` strides where the others pool, so it has half the resolution from its first block on.
    """
    from monai.networks.nets import BasicUNet, UNet

    widths = [width * 2**level for level in range(_MONAI_LEVELS)]
    basic = BasicUNet(2, 1, 1, (*widths, width), act="relu", norm="batch")
    strided = UNet(2, 1, 1, widths, (2,) * (_MONAI_LEVELS - 1), act="relu", norm="batch")
    return {"MONAI BasicUNet": _with_ends(basic), "MONAI UNet": _with_ends(strided)}


def smp_network(width: int) -> nn.Module:
    """Return segmentation_models.pytorch's U-Net: its smallest ResNet, a decoder this wide."""
    _let_torchvision_import()
    from segmentation_models_pytorch import Unet

    widths = [width * 2**level for level in reversed(range(_MONAI_LEVELS))]
    return _with_ends(
        Unet("resnet18", encoder_weights=None, decoder_channels=widths, in_channels=1)
    )


def _let_torchvision_import() -> None:
    """Declare what torchvision misses of its compiled part, where that does not fit torch.

    Without it, torchvision cannot be imported at all; a U-Net uses nothing of that part.
    """
    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", _SUPPRESSION)


def parameters(network: nn.Module) -> int:
    """Return how many weights train."""
    return sum(weights.numel() for weights in network.parameters())


def _with_ends(network: nn.Module) -> nn.Module:
    """With the sigmoid that these networks leave to the loss, and gray levels brought to 0 to 1."""
    return nn.Sequential(_Scaled(), network, nn.Sigmoid())


class _Scaled(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image / 255
