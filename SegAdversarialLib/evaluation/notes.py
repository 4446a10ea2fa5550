"""What makes figures mean nothing, said in words: one sentence for each, which names the likely causes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from SegAdversarialLib.metrics import dice, mean_dice

LOW_DICE = 0.5
"""The mean Dice of the unchanged case below which a note asks for the preprocessing.

At one half, answer and reference have twice as many voxels apart as in common. Networks on data like those that they were
trained on mostly lie well above it, all but the smallest lesions included; one whose normalization was forgotten does not.
"""

RAISED_DICE = 0.01
"""By how much the mean Dice must rise until that is noted: noise moves it a little either way."""

_LEAST_SHOWN = 0.001

_CAUSES = "its normalization, orientation, order of channels, and which reference labels its classes stand for"


def shown(share: float, decimals: int = 2) -> str:
    """A share as it is said, which is never rounded to nothing: "0.38", "0.004", "below 0.001", "0"."""
    text = f"{share:.{decimals}f}"
    if float(text):
        return text
    return "0" if share == 0 else f"{share:.1g}" if share >= _LEAST_SHOWN else f"below {_LEAST_SHOWN:g}"


def only(share: float, decimals: int = 2) -> str:
    """A share that is less than it should be: "only 0.38", "only 0.004", "below 0.001", "0"."""
    return f"only {shown(share, decimals)}" if share >= _LEAST_SHOWN else shown(share, decimals)


def notes_on_answer(answer: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray] | None) -> list[str]:
    """What is odd about a network's answer for a case that nobody has attacked yet.

    Args:
        answer: the mask (K, J, I) of each of the network's structures as it claims it.
        reference: the same of the reference; None: there is none.
    """
    sought = {} if reference is None else {name: mask for name, mask in reference.items() if mask.any()}
    if reference is not None and not sought:
        return [
            "The reference holds none of the network's structures (all of it is background), so Dice is 1 where the network "
            "finds nothing and 0 where it finds anything; give the right label map, or none, to measure against the network's "
            "own answer."
        ]
    if not any(mask.any() for mask in answer.values()):
        return [
            "The network finds nothing in the unchanged case, so there is nothing that an attack could remove, and Dice says "
            f"nothing about its robustness; if there is something to find, check {_CAUSES}."
        ]
    mean = mean_dice(dice(answer[name], mask) for name, mask in sought.items())
    if not mean < LOW_DICE:
        return []
    which = "" if len(sought) == len(answer) else " (of the structures that the reference holds)"
    return [
        f"The network's mean Dice on the unchanged case{which} is {only(mean)}: it has hardly been trained, or it is given "
        f"something else than it was trained on, and attacks then say little; check {_CAUSES}."
    ]


def notes_on_channels(without_range: Sequence[str]) -> list[str]:
    """What cannot be said of channels that changed although they had one single intensity; their names."""
    if not without_range:
        return []
    return [
        f"{', '.join(without_range)}: one single intensity before, which has no range and no deviation; PSNR, SSIM, RMSE and "
        "perceptibility of what has changed are undefined, and a mean PSNR counts the other channels only."
    ]


def notes_on_attack(first: float, last: float) -> list[str]:
    """What is odd about what an attack that should lower Dice has done; the mean Dice before and after."""
    if not last - first > RAISED_DICE:
        return []
    return [
        f"The attack raised the mean Dice from {shown(first)} to {shown(last)} instead of lowering it: the network is wrong "
        "on the unchanged case, or the attack follows another reference, loss or choice of structures than is measured here."
    ]
