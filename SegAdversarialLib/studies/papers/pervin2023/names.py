"""What the study of Pervin et al. 2023 calls its networks, attacks and structures, beside what the printed tables do."""

from __future__ import annotations

from SegAdversarialLib.studies.papers.pervin2023.tables import EPOCHS, FGSM, INVERSE, PLAIN

BACKGROUND, OBJECT, TUMOUR = "background", "object", "whole tumour"
"""IoU is averaged over the background and what is to be found, a picture's object or the phantom's tumour: the paper's 0.4955
before any learning can only be the mean with the background."""

BY_FGSM, BY_INVERSE = "FGSM", "InvFGSM"
EARLY = {epoch: max(epoch, 1) for epoch in EPOCHS[:-1]}
"""The paper's epochs before its last, and after how many a network is measured: its epoch 0 is the first."""


def after(network: str, epoch: int) -> str:
    """A network that learned until one of the paper's epochs; until the last, it has the row's name."""
    return f"{network}, epoch {epoch}" if epoch in EARLY else network


AUGMENTED = {BY_FGSM: FGSM, BY_INVERSE: INVERSE}
"""The network of Table 2's "after", by the attack; "before" is the plain one."""

BEFORE = PLAIN
