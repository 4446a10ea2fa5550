"""SegAdversarial: attack, defend and measure medical segmentation networks on whole multi-modal volumes.

Names are imported when they are first used, so that importing the package costs next to nothing.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

__version__ = "0.1.0"

# Torch takes large pages of a CPU's memory, as numpy does unasked, where this stands in the environment when it is loaded. The
# gradient of a volume is made of new memory, which is several times slower to come by in small pages.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

_HOME_OF = {
    "Case": "volumes.case",
    "audit": "defenses.audit",
    "Preprocessing": "model.preprocessing",
    "SegmentationModel": "model.segmentation_model",
    "ensemble": "model.ensemble",
    "SmoothedModel": "model.smoothed_model",
    "certify": "defenses.certifying",
    "evaluate": "evaluation.measuring",
    "train": "training.loop",
    "open_model": "formats",
    "export_network": "formats.exporting",
    "InputError": "errors",
}
_MODULES = {x: x for x in ("attacks", "cohorts", "objectives", "phantom", "metrics", "scene")} | {
    "recipes": "defenses.recipes"
}

__all__ = [*_HOME_OF, *_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"{__name__}.{_MODULES[name]}")
    raise AttributeError(f"SegAdversarialLib has no {name}; it has {', '.join(__all__)}.")


def __dir__() -> list[str]:
    return sorted(__all__)
