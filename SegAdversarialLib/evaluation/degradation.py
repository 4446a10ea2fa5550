"""How much worse merely bad images make a network: mean degradation over severities (Boone et al. 2022, ROOD-MRI)."""

from __future__ import annotations

import math
from collections.abc import Mapping

from SegAdversarialLib.errors import InputError

SEVERITY_WEIGHT = 2 / 3
"""What ROOD-MRI's own software takes: a severity counts two thirds as much as the one below it, as mild artefacts are more
frequent than severe ones."""

BySeverity = Mapping[float, Mapping[str, float]]
"""Dice (or what else is better the higher) of each patient, by severity above 0."""


def mean_degradation(
    clean: Mapping[str, float], artefacts: Mapping[str, BySeverity], weight: float = SEVERITY_WEIGHT
) -> dict[str, float]:
    """What each patient loses on average over all artefacts; their mean is ROOD-MRI's mean degradation.

    D = mean over artefacts of sum_s w^s (clean - value_s) / sum_s w^s.

    Args:
        clean: each patient's value in the unchanged images.
        artefacts: values by artefact and severity.
        weight: w; 1: all severities count the same.

    Returns:
        By patient; nan for one that lacks a severity of an artefact which others have.

    Raises:
        InputError: the weight or a severity is not above 0, or there is no artefact.
    """
    each = [degradation(clean, severities, weight) for severities in artefacts.values()]
    if not each:
        raise InputError("A mean degradation needs at least one artefact.")
    return {patient: math.fsum(x[patient] for x in each) / len(each) for patient in clean}


def degradation(clean: Mapping[str, float], severities: BySeverity, weight: float = SEVERITY_WEIGHT) -> dict[str, float]:
    """`mean_degradation` by one artefact."""
    if not weight > 0 or not severities or not all(x > 0 for x in severities):
        raise InputError(
            f"A degradation needs a weight and severities above 0; they are {weight:g} and "
            f"{', '.join(f'{x:g}' for x in severities) or 'none'}."
        )
    total = math.fsum(weight**x for x in severities)
    return {
        patient: math.fsum(weight**x * (value - found.get(patient, math.nan)) for x, found in severities.items()) / total
        for patient, value in clean.items()
    }
