"""Tables 1 to 3 of Pervin et al. 2023 (adversarial attack driven data augmentation), mean IoU, as they were printed."""

from __future__ import annotations

from SegAdversarialLib.studies.papers.printed import Printed, PrintedTable, figures

DATA_SETS = ("Colon cancer", "Lumbar CT")
PLAIN, FGSM, INVERSE = "U-Net", "U-Net + FGSM", "U-Net + InvFGSM"
EPOCHS = (0, 10, 20, 30)
EPSILONS = (0.0012, 0.0118, 0.1176)

_ONE_COHORT = "The figures here are those of one cohort, beside both of the paper's."
_EPOCHS = "Epochs here are counted in thirtieths of the whole training; epoch 0 is after the first."

TABLE_1 = PrintedTable(
    "Table 1",
    "Mean IoU throughout different epochs",
    ("Models",),
    tuple(f"{data}, epoch {epoch}" for data in DATA_SETS for epoch in EPOCHS),
    {
        (PLAIN,): figures("0.4955 0.5586 0.7311 0.8084 0.5004 0.9535 0.9781 0.9829"),
        (FGSM,): figures("0.4987 0.7839 0.8129 0.8394 0.6161 0.8186 0.8938 0.9387"),
        (INVERSE,): figures("0.6159 0.8264 0.8643 0.8986 0.6737 0.9027 0.9486 0.9774"),
    },
    f"{_ONE_COHORT} {_EPOCHS}",
)

TABLE_2 = PrintedTable(
    "Table 2",
    "Mean IoU under attack, before and after adversarial training",
    ("Attacking model", "Adversarial training"),
    tuple(f"{data}, ε = {epsilon}" for data in DATA_SETS for epsilon in EPSILONS),
    {
        ("FGSM", "before"): figures("0.7860 0.7246 0.6028 0.8630 0.7007 0.4944"),
        ("FGSM", "after"): figures("0.9071 0.8242 0.7720 0.9106 0.8812 0.9150"),
        ("InvFGSM", "before"): figures("0.7749 0.5841 0.5467 0.9262 0.8517 0.4953"),
        ("InvFGSM", "after"): figures("0.8724 0.8729 0.8477 0.9806 0.9624 0.9169"),
    },
    _ONE_COHORT,
)

TABLE_3 = PrintedTable(
    "Table 3",
    "Mean IoU by augmentation",
    ("Model",),
    DATA_SETS,
    {
        (PLAIN,): figures("0.8084 0.9829"),
        ("U-Net + Flipping",): figures("0.8127 0.8055"),
        ("U-Net + Rotating",): figures("0.8135 0.8131"),
        ("U-Net + Cropping",): figures("0.8215 0.8753"),
        ("U-Net + Color Jitter",): figures("0.7989 0.8069"),
        ("U-Net + GAN",): figures("0.8455 0.821"),
        (FGSM,): figures("0.8394 0.9387"),
        (INVERSE,): figures("0.8986 0.9774"),
    },
    _ONE_COHORT,
)
TABLES = (TABLE_1, TABLE_2, TABLE_3)


def of_both(table: PrintedTable, row: tuple[str, ...]) -> list[str]:
    """A row's figures as "colon cancer / lumbar CT", one for each epoch, epsilon or the like."""
    found = table.rows[row]
    half = len(found) // 2
    return [f"{_text(colon)} / {_text(lumbar)}" for colon, lumbar in zip(found[:half], found[half:])]


def _text(figure: Printed | None) -> str:
    return "-" if figure is None else figure.text
