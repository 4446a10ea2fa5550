"""What the study of Chen et al. 2019 calls its network and attacks."""

from __future__ import annotations

from SegAdversarialLib.structures.naming import name_of

NETWORK = "U-Net"
BOTH, DEFORMED, SHADED = "deformation and intensity", "deformation alone", "intensity alone"


def is_organ(structure: str, organ: str) -> bool:
    """Whether a structure is one of the paper's organs ("Kidneys"), or a part of it on one side."""
    found, wanted = (name_of(x).concept for x in (structure, organ))
    return found == wanted or found == wanted.removesuffix("s") or f"{found}s" == wanted
