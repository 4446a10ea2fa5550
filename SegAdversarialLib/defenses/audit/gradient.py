"""Does the gradient say what the network does? Finite differences along random directions.

What is differentiated is a random weighting of the logits, not a loss: where a loss is flat, as with saturated outputs, its
gradient would agree with everything. A network of convolutions and ReLUs is linear in pieces, and a step that is too long
crosses kinks; one that is too short drowns in rounding. In double precision a step of a millionth of the largest intensity
does neither; in single precision there is no such step, so that the best of a few lengths counts, and less is asked for.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from SegAdversarialLib.defenses.audit.checks import Finding, Verdict
from SegAdversarialLib.errors import CancelCheck, check_cancel, detail_of
from SegAdversarialLib.volumes.intensity import IntensityRange

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.model.bound_model import BoundModel
    from SegAdversarialLib.model.segmentation_model import SegmentationModel
    from SegAdversarialLib.volumes.case import Case

_log = logging.getLogger(__name__)

STEPS = {True: (1e-6, 1e-5), False: (1e-3, 3e-3, 1e-2)}
"""Lengths of steps in double precision and in single, as shares of each channel's largest intensity."""

AGREES = {True: 0.01, False: 0.1}
"""Relative difference up to which derivatives agree, in double precision and in single."""

_TITLE = "The gradient is that of the network"


def gradient_agrees(
    model: SegmentationModel, case: Case, directions: int, seed: int = 0, cancel: CancelCheck | None = None
) -> Finding:
    """Whether the network's gradient agrees with finite differences on a case.

    Args:
        model: the network; it is copied for double precision where that can be done.
        case: where it is tried.
        directions: how many random directions.
        seed: of these.
        cancel: asked between directions.
    """
    exact = in_double(model)
    if exact is not None:
        try:
            return _found(_differences(exact, case, directions, seed, cancel), exact=True)
        except RuntimeError as error:  # a stranger's network may insist on single precision
            _log.debug("The network does not run in double precision (%s).", detail_of(error))
    return _found(_differences(model, case, directions, seed, cancel), exact=False)


def in_double(model: SegmentationModel) -> SegmentationModel | None:
    """A copy of a model that computes in double precision; None where there can be none."""
    import torch

    if model.network_dtype == torch.float64:
        return model
    if model.device.type == "mps":
        return None
    try:
        return model.with_network(copy.deepcopy(model.network).double())
    except Exception as error:  # a stranger's network may be impossible to copy
        _log.debug("The network cannot be copied (%s).", detail_of(error))
        return None


def relative_difference(derivatives: Sequence[float], quotients: Sequence[float]) -> float:
    """How far derivatives and difference quotients are apart: Euclidean, relative to the longer; 0 where both are 0."""
    apart = math.dist(derivatives, quotients)
    return apart / max(math.hypot(*derivatives), math.hypot(*quotients)) if apart else 0.0


def _differences(
    model: SegmentationModel, case: Case, directions: int, seed: int, cancel: CancelCheck | None
) -> tuple[float, float]:
    """The smallest relative difference over the lengths of steps, and the size of the derivatives."""
    import torch

    exact = model.dtype == torch.float64
    with model.on(case, between_windows=lambda done: check_cancel(cancel)) as bound:
        generator = torch.Generator().manual_seed(seed)
        shape = bound.logits(bound.image).shape
        weights = torch.randn(shape, generator=generator, dtype=bound.image.dtype).to(bound.image.device)
        gradient = bound.differentiate(bound.image, lambda logits: (weights * logits).sum())[1]
        units = _units(case, model)
        tried = [_direction(units, generator).to(bound.image) for _ in range(directions)]
        derivatives = [float((gradient.double() * x.double()).sum()) for x in tried]
        found = []
        for step in STEPS[exact]:
            check_cancel(cancel)
            found.append(relative_difference(derivatives, [_quotient(bound, weights, x, step) for x in tried]))
    return min(found), math.hypot(*derivatives)


def _quotient(bound: BoundModel, weights: torch.Tensor, direction: torch.Tensor, step: float) -> float:
    """The central difference quotient; differences are summed in double precision, so that only the network's rounding
    counts."""
    ahead, behind = (bound.logits(bound.image + sign * step * direction) for sign in (1, -1))
    return float(((ahead.double() - behind.double()) * weights.double()).sum()) / (2 * step)


def _units(case: Case, model: SegmentationModel) -> np.ndarray:
    """(C, K, J, I): the largest intensity of each channel that the network takes, 0 in others and in padding, where
    normalisation often has an edge."""
    units = np.zeros(case.image.shape, np.float32)
    for n in model.channel_positions(case):
        found = IntensityRange.of(case.image[n])
        inside = np.ones(case.shape, bool) if found.padding is None else case.image[n] != found.padding
        units[n] = np.where(inside, found.largest, 0)
    return units


def _direction(units: np.ndarray, generator: torch.Generator) -> torch.Tensor:
    import torch

    signs = torch.randint(2, units.shape, generator=generator).mul_(2).sub_(1)
    return signs * torch.from_numpy(units)


def _found(measured: tuple[float, float], exact: bool) -> Finding:
    number, size = measured
    precision = "double" if exact else "single"
    if size == 0 and number > 0:
        text = (
            "The network has no gradient at all although its answer changes with the image: something inside it, such as "
            "rounding or a threshold, cuts the gradient off, and attacks that follow it cannot work."
        )
        return Finding("gradient", _TITLE, "warn", number, text)
    if size == 0:
        text = "The network's answer did not change with the image at all, nor has it a gradient."
        return Finding("gradient", _TITLE, "warn", number, text)
    holds = number <= AGREES[exact]
    verdict: Verdict = "pass" if holds else "warn"
    text = (
        "What the gradient promises and what the network does when the image changes a little differ by "
        f"{number:.2g} of their size (in {precision} precision)"
    )
    end = "." if holds else ": the gradient is shattered or made up, and attacks that follow it are misled."
    return Finding("gradient", _TITLE, verdict, number, text + end)
