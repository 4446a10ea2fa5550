"""Tables 1 to 7 of Cheng & Ji 2020 (IEEE Access 8).

Tables 2 to 6, Dice by modality, epsilon and rad, are pictures in the copy of the paper that these figures were taken from:
their titles are there, their figures are not, and none were put in their place. Of the values of epsilon and rad the text
names 1 (Section VI.B), 15 (Figure 3), and a range from 0 to 255 (Section IV.B).
"""

from __future__ import annotations

from SegAdversarialLib.studies.papers.printed import Printed, PrintedTable, figures

REGIONS = ("ET", "WT", "TC")
"""As the paper's columns have them: enhancing tumour, whole tumour, tumour core."""

MODALITIES = {"FLAIR": "Table 2", "T1": "Table 3", "T1ce": "Table 4", "T2": "Table 5"}
"""Each modality by the case's name for it, and the table in which it alone is attacked."""

ALL = "all"
SIZES = (1.0, 15.0, 50.0)
"""Of epsilon and of rad here: the two that the text names, and one in the lower part of its range."""

_DICE = tuple(f"Dice {x}" for x in REGIONS)
_PICTURE = "The paper's figures are a picture in the copy at hand; only what came out here is shown."


def size_name(epsilon: float, radius: float) -> str:
    """What a row of Tables 2 to 6 is called."""
    return f"ε = {epsilon:g}, rad = {radius:g}"


def _attacked(number: str, modality: str) -> PrintedTable:
    nothing: tuple[Printed | None, ...] = (None,) * len(_DICE)
    rows: dict[tuple[str, ...], tuple[Printed | None, ...]] = {(size_name(e, r),): nothing for e in SIZES for r in SIZES}
    return PrintedTable(number, f"Adversarial perturbations in {modality}", ("parameters",), _DICE, rows, _PICTURE)


TABLE_1 = PrintedTable(
    "Table 1",
    "Original image performance baseline",
    ("parameters",),
    _DICE,
    {("Base line with no perturbation",): figures("0.76 0.91 0.84")},
)
ATTACKED = {
    **{name: _attacked(number, f"{name} modality") for name, number in MODALITIES.items()},
    ALL: _attacked("Table 6", "all four modalities"),
}
"""Tables 2 to 6, by what is attacked."""

TABLE_7 = PrintedTable(
    "Table 7",
    "Slope and intercept summary of probplot in Figure 6",
    ("Modalities",),
    ("slope", "intercept"),
    {
        ("T1",): figures("203.136 379.927"),
        ("T1ce",): figures("285.585 437.846"),
        ("T2",): figures("358.540 466.197"),
        ("FLAIR",): figures("162.865 294.221"),
    },
    "In the intensities of the scans, which differ between cohorts.",
)
TABLES = (TABLE_1, *ATTACKED.values(), TABLE_7)
