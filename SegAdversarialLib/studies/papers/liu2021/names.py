"""What the study of Liu et al. 2021 calls its networks and attacks, beside what the printed tables do."""

from __future__ import annotations

from SegAdversarialLib.studies.papers.liu2021.tables import DEFENCES

NOISE = "Noise augmentation, 0.01"
"""In Figure 7 and the text, not in the tables."""

NETWORKS = (*DEFENCES, NOISE)
FGSM, IFGSM, TIFGSM = "FGSM", "i-FGSM", "ti-FGSM"
ATTACKS = (FGSM, IFGSM, TIFGSM)


def in_2d(network: str) -> str:
    """The 2D U-Net that is trained as a 3D one."""
    return f"2D, {network}"
