"""Table 1 of Chen et al. 2019 (Intelligent image synthesis to attack a segmentation CNN), as it was printed."""

from __future__ import annotations

from SegAdversarialLib.studies.papers.printed import PrintedTable, figures

ORGANS = ("Pancreas", "Kidneys", "Liver", "Spleen")
STRENGTHS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0)
"""xi."""
ABLATED = 2.0
"""xi of the deformation alone and of the intensity variation alone."""

CLEAN, BORDER = "U-Net", "U-Net 30% decrease"
DEFORMED, SHADED = f"I_D on U-Net (ξ = {ABLATED})", f"I_V on U-Net (ξ = {ABLATED})"


def row_of(strength: float) -> str:
    """What the row of a xi is called."""
    return f"I_DV on U-Net (ξ = {strength})"


TABLE_1 = PrintedTable(
    "Table 1",
    "Abdominal organ segmentation, Dice (%) and perceptibility p",
    ("Configuration",),
    (*ORGANS, "p"),
    {
        (CLEAN,): figures("80.07 94.74 94.71 94.76 -"),
        (BORDER,): figures("56.05 66.32 66.30 66.33 -"),
        (row_of(0.5),): figures("74.77 93.88 89.81 81.87 0.061"),
        (row_of(1.0),): figures("70.66 90.06 59.51 37.12 0.060"),
        (row_of(1.5),): figures("64.25 66.97 26.45 35.81 0.075"),
        (row_of(2.0),): figures("53.59 60.07 11.19 17.21 0.074"),
        (row_of(2.5),): figures("40.57 45.47 9.16 17.60 0.084"),
        (row_of(3.0),): figures("31.49 43.43 5.82 26.58 0.085"),
        (DEFORMED,): figures("70.46 82.04 75.06 70.47 0.056"),
        (SHADED,): figures("68.15 88.25 50.05 46.94 0.061"),
    },
)
TABLES = (TABLE_1,)
