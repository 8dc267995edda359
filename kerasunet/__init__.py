"""kerasunet: which layers of a pre-trained U-Net should be fine-tuned?

A functional Keras U-Net whose blocks can be trained or frozen by name, training that compares such
strategies fairly, and models that plain Keras opens. Everything is imported when first used.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_members(package: str, members: Mapping[str, str]) -> tuple[Callable, Callable]:
    """Makes the `__getattr__` and `__dir__` of a package (PEP 562).

    Args:
        package: The package's `__name__`.
        members: Public name to the module that defines it; a module stands for itself.
    """

    def get(name: str) -> Any:
        if name not in members:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = importlib.import_module(members[name])
        return module if members[name] == f"{package}.{name}" else getattr(module, name)

    return get, lambda: sorted(members)


__version__ = "0.1.0"
_MEMBERS = {
    "UNet": "kerasunet.unet",
    "set_trainable": "kerasunet.freezing",
    "describe": "kerasunet.freezing",
    "Segmenter": "kerasunet.inference.segmenter",
    "SideBySide": "kerasunet.inference.segmenter",
    "data": "kerasunet.data",
    "engines": "kerasunet.inference.engines",
    "metrics": "kerasunet.metrics",
    "models": "kerasunet.models",
    "strategies": "kerasunet.strategies",
    "training": "kerasunet.training",
}
__all__ = sorted(_MEMBERS)
__getattr__, __dir__ = lazy_members(__name__, _MEMBERS)
