"""The checks of an audit that compare attacks: pure functions of what was measured.

Each says pass, warn or not applicable, its number, and one sentence for people who do not attack networks for a living.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from SegAdversarialLib.defenses.audit.measured import Measured
from SegAdversarialLib.defenses.audit.probes import (
    ALL_LOSSES,
    BLACK_BOX,
    ITERATIVE,
    LONGER,
    NOISE,
    SINGLE,
    TRANSFERRED,
)
from SegAdversarialLib.defenses.audit.settings import FEWEST_LOSSES, FEWEST_RESTARTS, FULL_RANGE
from SegAdversarialLib.evaluation.notes import LOW_DICE

Verdict = Literal["pass", "warn", "not applicable"]

POINT = 0.01
"""One point of Dice: what chance and an unlucky start change, here and there."""

MASKED = 0.10
"""By how many points rescaled logits may be the better way. A loss never fits a network perfectly, so that a scale other
than 1 is worth a few points on honest networks, too; distilled ones hide twenty and more."""

NEAR_ZERO = 0.05
"""Dice that an attack of the full range may leave."""

MUCH_WEAKER = 0.5
"""The share of the attack's drop that noise of the same size may reach."""

WORTH_COMPARING = 0.05
"""A drop of Dice below which there is nothing that noise could be weaker than."""

WIDE = 0.05
"""Dice by which restarts may differ until chance decides more than it should."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        check: its short name, by which it is looked up.
        title: what should hold.
        verdict: "pass", "warn" or "not applicable".
        number: what was measured; nan where nothing was.
        sentence: what it means.
    """

    check: str
    title: str
    verdict: Verdict
    number: float
    sentence: str


def compare_attacks(measured: Measured) -> list[Finding]:
    """All checks that compare attacks with each other and with the clean answer."""
    return [
        able(measured),
        clean_at_zero(measured),
        monotone(measured),
        label_leaking(measured),
        iterative(measured),
        converged(measured),
        full_range(measured),
        noise(measured),
        black_box(measured),
        transferred(measured),
        masking(measured),
        restarts(measured),
        losses(measured),
    ]


def able(measured: Measured) -> Finding:
    """The network does its task on the unchanged images."""
    number = measured.clean_mean
    good = f"On the unchanged images the network reaches a Dice of {number:.3f}."
    bad = (
        f"On the unchanged images the network reaches a Dice of only {number:.3f}: where there is little to lose, attacks and "
        "most of these checks say little; train it longer, or check what it is given."
    )
    return _finding("clean", "The network can do its task", number >= LOW_DICE, number, good, bad)


def clean_at_zero(measured: Measured) -> Finding:
    """epsilon = 0 gives the clean Dice exactly."""
    clean = {x.case: x.mean for x in measured.clean}
    found = [abs(x.mean - clean[x.case]) for x in measured.rows if x.epsilon == 0]
    if not found:
        return _not_applicable("zero", "Epsilon 0 changes nothing", "No attack of size 0 was made.")
    number = max(found)
    good = "An attack that may change nothing leaves the clean Dice exactly."
    bad = f"An attack that may change nothing moved Dice by {number:.4f}, so the measurement itself is not to be trusted."
    return _finding("zero", "Epsilon 0 changes nothing", number == 0, number, good, bad)


def monotone(measured: Measured) -> Finding:
    """Dice under an attack never rises with epsilon."""
    title = "Dice never rises with epsilon"
    steps = [
        (measured.mean(attack, high) - measured.mean(attack, low), attack, low, high)
        for attack in (SINGLE, ITERATIVE)
        for low, high in _neighbours(measured.epsilons(attack))
    ]
    if not steps:
        return _not_applicable("monotone", title, "There are no two sizes of one attack to compare.")
    number, attack, low, high = max(steps)
    good = "A larger budget never left the network better off, as it must be."
    bad = (
        f"With {attack}, Dice rose by {number:.3f} from epsilon {low:g} to {high:g}, although whoever may change more can do "
        "all that was possible before: the attack goes astray, and its figures say too much good of the network."
    )
    return _finding("monotone", title, number <= POINT, max(number, 0.0), good, bad)


def label_leaking(measured: Measured) -> Finding:
    """Dice under an attack is never above the clean Dice (Kurakin et al. 2017; Liu et al. 2021's discussion)."""
    title = "No label leaking"
    found = [
        (measured.mean(attack, epsilon) - measured.clean_mean, attack, epsilon)
        for attack in (SINGLE, ITERATIVE)
        for epsilon in measured.sizes(attack)
    ]
    if not found:
        return _not_applicable("leaking", title, "No attack was made.")
    number, attack, epsilon = max(found)
    good = "No attack made the network better than it is on the unchanged images."
    bad = (
        f"Label leaking: under {attack} at epsilon {epsilon:g} Dice is {number:.3f} higher than on the unchanged images; the "
        "change carries the reference labels with it, and a network trained on such attacks has learnt to read them there."
    )
    return _finding("leaking", title, number <= POINT, max(number, 0.0), good, bad)


def iterative(measured: Measured) -> Finding:
    """An iterative attack is at least as strong as a single step."""
    title = "Many steps beat one"
    number, epsilon = _largest(measured, ITERATIVE, SINGLE)
    if epsilon is None:
        return _not_applicable("iterative", title, "Not both kinds of attack were made.")
    good = "Many small steps did at least as much harm as a single large one."
    bad = (
        f"A single step left {number:.3f} less Dice than many at epsilon {epsilon:g}: the gradient leads astray after the "
        "first step, which is a sign of hidden gradients."
    )
    return _finding("iterative", title, number <= POINT, number, good, bad)


def converged(measured: Measured) -> Finding:
    """Twice the steps change less than a point."""
    title = "Twice the steps change nothing"
    found = [(abs(measured.alone(LONGER, e) - measured.alone(ITERATIVE, e)), e) for e in measured.sizes(LONGER, ITERATIVE)]
    if not found:
        return _not_applicable("converged", title, "No longer attack was made.")
    number, epsilon = max(found)
    good = f"Twice as many steps moved Dice by {number:.3f} at most: the attack has come to its end."
    bad = (
        f"Twice as many steps moved Dice by {number:.3f} at epsilon {epsilon:g}: the attack was stopped before its end; audit "
        "with more steps (steps, or a higher effort)."
    )
    return _finding("converged", title, number < POINT, number, good, bad)


def full_range(measured: Measured) -> Finding:
    """An attack that may change everything brings Dice near 0."""
    title = "The full range destroys the answer"
    number = measured.mean(ITERATIVE, FULL_RANGE)
    if math.isnan(number):
        return _not_applicable("full range", title, "No attack of the full range was made.")
    good = f"An attack that may turn any voxel into anything left a Dice of {number:.3f}."
    bad = (
        f"An attack that may turn any voxel into anything still left a Dice of {number:.3f}; no network can be right on such "
        "images, so the attack does not find its way: gradients are hidden, and smaller attacks fail for the same reason."
    )
    return _finding("full range", title, number <= NEAR_ZERO, number, good, bad)


def noise(measured: Measured) -> Finding:
    """Random noise of the same size is much weaker."""
    title = "Noise is much weaker"
    found = []
    for epsilon in measured.sizes(NOISE, ITERATIVE):
        drop = measured.clean_mean - measured.mean(ITERATIVE, epsilon)
        if drop >= WORTH_COMPARING:
            found.append((max(measured.clean_mean - measured.mean(NOISE, epsilon), 0.0) / drop, epsilon))
    if not found:
        return _not_applicable("noise", title, "The attack itself lowered Dice too little for a comparison with noise.")
    number, epsilon = max(found)
    good = f"Random noise of the same size did at most {number:.0%} of the attack's harm: the attack knows what it does."
    bad = (
        f"Random noise of the same size did {number:.0%} of the attack's harm at epsilon {epsilon:g}: either the network "
        "breaks under plain noise, or the attack is hardly better than chance."
    )
    return _finding("noise", title, number <= MUCH_WEAKER, number, good, bad)


def black_box(measured: Measured) -> Finding:
    """An attack without gradients never beats the one with them."""
    bad = (
        "An attack that only asks for answers left {number:.3f} less Dice at epsilon {epsilon:g} than one that sees "
        "everything: the gradients that the latter follows are hidden or wrong."
    )
    return _never_beats(
        measured, BLACK_BOX, "black box", "Black box never beats white box", "No black-box attack was asked for.", bad
    )


def transferred(measured: Measured) -> Finding:
    """A transferred attack never beats the one on the network itself."""
    bad = (
        "An attack made on another network left {number:.3f} less Dice at epsilon {epsilon:g} than one made on this network: "
        "its own gradients are hidden or wrong."
    )
    reason = "No surrogate network was given."
    return _never_beats(measured, TRANSFERRED, "transfer", "Transfer never beats white box", reason, bad)


def masking(measured: Measured) -> Finding:
    """Attacking rescaled logits is no stronger than attacking the logits (Carlini & Wagner 2017)."""
    title = "No gradient masking by saturated logits"
    found = [
        (measured.alone(ITERATIVE, epsilon) - measured.alone(attack, epsilon), attack, epsilon)
        for attack in measured.named(lambda row: row.temperature is not None)
        for epsilon in measured.sizes(attack, ITERATIVE)
    ]
    if not found:
        return _not_applicable("masking", title, "No attack on rescaled logits was asked for.")
    if measured.clean_mean < MASKED:
        return _not_applicable("masking", title, "The network has no Dice to lose that could be hidden.")
    number, attack, epsilon = max(found)
    plain = measured.alone(ITERATIVE, epsilon)
    good = f"Rescaled logits made the attack stronger by {max(number, 0.0):.3f} Dice at most, as on any honest network."
    bad = (
        f"Gradient masking: at epsilon {epsilon:g} the plain attack left a Dice of {plain:.3f}, the same attack with the "
        f"logits rescaled ({attack.partition(', ')[2]}) only {plain - number:.3f}: the difference is not robustness but "
        "saturated outputs, as defensive distillation makes them, whose gradients vanish."
    )
    return _finding("masking", title, number <= MASKED, number, good, bad)


def restarts(measured: Measured) -> Finding:
    """Several restarts, with their spread."""
    title = "Restarts agree"
    rows = [x for x in measured.rows if x.attack == ITERATIVE and 0 < x.epsilon < FULL_RANGE]
    fewest = min((len(x.restarts) for x in rows), default=0)
    if fewest < FEWEST_RESTARTS:
        text = f"With {fewest} restarts nothing is known about how much chance decides; make {FEWEST_RESTARTS} at least."
        return Finding("restarts", title, "warn", math.nan, text)
    number = max(max(x.restarts) - min(x.restarts) for x in rows)
    good = f"{fewest} attacks from other starting points differed by {number:.3f} Dice at most; the lowest counts."
    bad = (
        f"{fewest} attacks from other starting points differed by up to {number:.3f} Dice: chance decides, and more restarts "
        "would probably find lower values."
    )
    return _finding("restarts", title, number <= WIDE, number, good, bad)


def losses(measured: Measured) -> Finding:
    """The worst case over several losses."""
    title = "Worst case over several losses"
    names = measured.named(lambda row: row.loss is not None) + ([ITERATIVE] if measured.sizes(ITERATIVE) else [])
    epsilon = max(measured.sizes(ITERATIVE, ALL_LOSSES), default=None)
    if epsilon is None:
        return _not_applicable("losses", title, "No losses were compared.")
    found = {name: measured.alone(name, epsilon) for name in names}
    living = [name for name, left in found.items() if left < measured.clean_mean - POINT]
    gaps = [
        (measured.alone(ITERATIVE, e) - min(measured.mean(x, e) for x in (*names, ALL_LOSSES)), e)
        for e in measured.sizes(ALL_LOSSES)
    ]
    number, at = max(gaps)
    good = (
        f"{len(names)} losses were climbed, by themselves and together; the worst of them left {number:.3f} less Dice at "
        f"epsilon {at:g} than soft Dice alone: the audited Dice counts it."
    )
    if len(names) < FEWEST_LOSSES:
        bad = f"Only {len(names)} losses were climbed, so that the worst case may be missed; climb {FEWEST_LOSSES} at least."
    else:
        bad = (
            f"Of {len(names)} losses only {len(living)} lower Dice at all at epsilon {epsilon:g}: the others have no gradient "
            "to follow, or the network holds at this size."
        )
    return _finding("losses", title, len(names) >= FEWEST_LOSSES and len(living) >= FEWEST_LOSSES, number, good, bad)


def _never_beats(measured: Measured, other: str, check: str, title: str, reason: str, bad: str) -> Finding:
    number, epsilon = _largest(measured, ITERATIVE, other)
    if epsilon is None:
        return _not_applicable(check, title, reason)
    good = "It left no less Dice than the attack that follows the network's own gradient."
    return _finding(check, title, number <= POINT, number, good, bad.format(number=number, epsilon=epsilon))


def _largest(measured: Measured, attack: str, other: str) -> tuple[float, float | None]:
    """By how much another attack is the stronger one where it is most so, and at which size."""
    found = [(measured.mean(attack, e) - measured.mean(other, e), e) for e in measured.sizes(attack, other)]
    return max(found, default=(math.nan, None))


def _neighbours(epsilons: Sequence[float]) -> Iterable[tuple[float, float]]:
    return zip(epsilons, epsilons[1:])


def _finding(check: str, title: str, holds: bool, number: float, good: str, bad: str) -> Finding:
    return Finding(check, title, "pass" if holds else "warn", number, good if holds else bad)


def _not_applicable(check: str, title: str, reason: str) -> Finding:
    return Finding(check, title, "not applicable", math.nan, reason)
