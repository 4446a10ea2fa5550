"""Running an audit: case by case, attack by attack."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.arguments import checked
from SegAdversarialLib.attacks.attack import Attack
from SegAdversarialLib.attacks.cost import ANSWER, Cost, duration
from SegAdversarialLib.attacks.gradient import GradientAttack
from SegAdversarialLib.attacks.result import AttackResult
from SegAdversarialLib.defenses.audit.checks import Finding, compare_attacks
from SegAdversarialLib.defenses.audit.gradient import gradient_agrees
from SegAdversarialLib.defenses.audit.measured import Measured, Row
from SegAdversarialLib.defenses.audit.nature import SAME, answers, deterministic, gives_logits
from SegAdversarialLib.defenses.audit.probes import Probe, cost_of, probes
from SegAdversarialLib.defenses.audit.report import Audit
from SegAdversarialLib.defenses.audit.settings import AuditSettings
from SegAdversarialLib.errors import CancelCheck, InputError, ProgressCallback, check_cancel
from SegAdversarialLib.evaluation.structures import check_regions, claimed, wanted_masks
from SegAdversarialLib.metrics import dice, mean_dice
from SegAdversarialLib.model.expected_model import ExpectedModel
from SegAdversarialLib.volumes.case import Case

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import Prediction, SegmentationModel


@dataclass(frozen=True)
class Forecast:
    """What an audit will take.

    Attributes:
        cases: how many there are.
        attacks: on each of them.
        cost: of all attacks on all cases.
        seconds: in all, as the first case's gradient lets expect.
    """

    cases: int
    attacks: int
    cost: Cost
    seconds: float

    def __repr__(self) -> str:
        cases = f"{self.cases} case{'s' if self.cases > 1 else ''}"
        asked = f"{self.cost.gradients:,} gradients and {self.cost.answers:,} answers of the network"
        return f"{self.attacks} attacks on each of {cases}, {asked}: about {duration(self.seconds)}."


@checked(cases="a Case, or a list of Cases")
def audit(
    model: SegmentationModel,
    cases: Case | Sequence[Case],
    *,
    surrogate: SegmentationModel | None = None,
    progress: ProgressCallback | None = None,
    cancel: CancelCheck | None = None,
    **settings: Any,
) -> Audit:
    """Find out whether a network's robustness is real: attack it in every way that shows where an attack only seems to fail.

    Dice is the mean over the network's structures, against the reference, or against the network's own clean answer where no
    case has a reference. A network that answers at random is attacked, and measured, through the mean of a few fixed draws
    (`ExpectedModel`).

    Args:
        model: the network, defended or not.
        cases: one case, or a sequence that may read each when it is asked for it: there is never more than one in memory.
        surrogate: a similar network, from which attacks are transferred.
        progress: called with the finished fraction and a text.
        cancel: asked between gradients and windows; True ends the audit with `Cancelled`.
        settings: those of `AuditSettings` (effort, epsilons, steps, restarts, queries, temperatures, losses, directions,
            expectation, channels, seed).

    Raises:
        InputError: a setting is wrong, there are no cases, or one does not fit the network.
        Cancelled: `cancel` said so.
    """
    how = AuditSettings(**settings).complete()
    several = _several(cases)
    return _Auditor(model, several, how, surrogate, progress, cancel).run()


@checked(cases="a Case, or a list of Cases")
def forecast(
    model: SegmentationModel, cases: Case | Sequence[Case], *, surrogate: SegmentationModel | None = None, **settings: Any
) -> Forecast:
    """What an audit would take; one gradient and one answer on the first case are measured. Arguments as of `audit`."""
    how = AuditSettings(**settings).complete()
    several = _several(cases)
    case = several[0].in_terms_of(model.head)
    asked = probes(how, _against(case), surrogate)
    with model.on(case) as bound:
        started = time.perf_counter()
        bound.logits(bound.image)
        answered = time.perf_counter()
        bound.differentiate(bound.image, lambda logits: logits.square().mean())
        gradient = time.perf_counter() - answered
    cost = cost_of(asked).times(len(several))
    return Forecast(len(several), len(asked), cost, cost.seconds(gradient, answered - started))


class _Auditor:
    """One audit while it goes on."""

    def __init__(
        self,
        model: SegmentationModel,
        cases: Sequence[Case],
        settings: AuditSettings,
        surrogate: SegmentationModel | None,
        progress: ProgressCallback | None,
        cancel: CancelCheck | None,
    ) -> None:
        self._model, self._cases, self._settings, self._surrogate = model, cases, settings, surrogate
        self._progress, self._cancel, self._share = progress, cancel, 0.0
        self._attacked = self._measured_on = model
        self._clean: list[Row] = []
        self._rows: list[Row] = []
        self._references: set[str] = set()

    def run(self) -> Audit:
        """Everything."""
        started = time.perf_counter()
        nature: list[Finding] = []
        for number in range(len(self._cases)):
            case = self._case(number)
            if not number:
                nature = self._nature(case)
            self._attack(case, number)
            del case
        measured = Measured(tuple(self._clean), tuple(self._rows))
        return Audit(
            findings=(*compare_attacks(measured), *nature),
            measured=measured,
            settings=self._settings,
            network=self._model.describe(),
            surrogate=self._surrogate.name if self._surrogate is not None else "",
            reference=" and ".join(sorted(self._references)),
            seconds=time.perf_counter() - started,
        )

    def _case(self, number: int) -> Case:
        check_cancel(self._cancel)
        self._report(number / len(self._cases), f"case {number + 1} of {len(self._cases)}")
        case = self._cases[number]
        if not isinstance(case, Case):
            raise InputError(f"The cases to audit on must be Cases; number {number + 1} is a {type(case).__name__}.")
        case = case.in_terms_of(self._model.head)
        self._model.channel_positions(case)
        return case

    def _nature(self, case: Case) -> list[Finding]:
        """What the network is like; a random one is attacked through its mean from now on."""
        how = self._settings
        assert how.expectation is not None and how.directions is not None
        self._report(0.0, "what the network is like")
        said = answers(self._model, case, self._cancel)
        found = [deterministic(said.apart, how.expectation), gives_logits(self._model, said)]
        if said.apart > SAME:
            self._attacked = ExpectedModel(self._model, how.expectation, seed=how.seed)
            # other draws: what an attack has fitted to its own is no success
            self._measured_on = ExpectedModel(self._model, how.expectation, seed=how.seed + 1)
        self._report(0.0, "the gradient")
        return [gradient_agrees(self._attacked, case, how.directions, how.seed, self._cancel), *found]

    def _attack(self, case: Case, number: int) -> None:
        """All attacks on one case."""
        asked = probes(self._settings, _against(case), self._surrogate)
        for probe in asked:
            probe.attack.check(self._attacked, case)
        self._references.add("reference" if case.label is not None else "network's own answer")
        ruler = _Ruler(self._measured_on, case, self._name(case, number), self._cancel)
        self._clean.append(ruler.clean)
        done, total = 0.0, _seconds(asked)
        for probe in asked:
            part = _seconds([probe]) / total
            progress = self._within(number, done, part, probe)
            with _quietly():
                result = probe.attack(self._attacked, case, progress=progress, cancel=self._cancel)
            self._rows.append(ruler.row(probe, result))
            done += part

    def _name(self, case: Case, number: int) -> str:
        taken = {x.case for x in self._clean}
        return case.name if case.name and case.name not in taken else f"{case.name or 'case'} ({number + 1})"

    def _within(self, number: int, done: float, part: float, probe: Probe) -> ProgressCallback:
        """Progress of one attack as progress of the audit."""
        text = f"case {number + 1} of {len(self._cases)}, epsilon {probe.attack.epsilon:g}: {probe.name}"
        return lambda share, _text: self._report((number + done + part * share) / len(self._cases), text)

    def _report(self, fraction: float, text: str) -> None:
        check_cancel(self._cancel)
        if self._progress is not None:
            self._share = max(self._share, min(fraction, 1.0))  # rounding never takes it back
            self._progress(self._share, f"Audit: {text}")


def restarts_of(result: AttackResult) -> tuple[float, ...]:
    """The lowest mean Dice that each restart of an attack met, its starting point aside."""
    found: dict[int, float] = {}
    for row in result.trace:
        if row["iteration"] > 0:
            restart = int(row["restart"])
            found[restart] = min(row["dice mean"], found.get(restart, np.inf))
    return tuple(found.values())


class _Ruler:
    """Measures Dice on one case: with the network's answer asked for anew, whatever an attack says of itself.

    Attributes:
        clean: what is measured of the unchanged case.
    """

    def __init__(self, model: SegmentationModel, case: Case, name: str, cancel: CancelCheck | None) -> None:
        self._model, self._name, self._cancel = model, name, cancel
        self._regions = check_regions(model.head, None)
        answer = model.predict(case, cancel=cancel)
        own = claimed(answer, model.head, self._regions)
        self._reference = own if case.label is None else wanted_masks(case.label, model.head, self._regions)
        self.clean = Row(name, 0.0, "", *self._dice(answer))

    def row(self, probe: Probe, result: AttackResult) -> Row:
        """What an attack left."""
        mean, scores = self._dice(self._model.predict(result.adversarial, cancel=self._cancel))
        own = restarts_of(result) if isinstance(probe.attack, GradientAttack) else ()
        about = (self._name, probe.attack.epsilon, probe.name)
        return Row(*about, mean, scores, own, probe.temperature, probe.loss)

    def _dice(self, answer: Prediction) -> tuple[float, dict[str, float]]:
        """The mean over the network's structures, and each, further regions included."""
        head = self._model.head
        scores = {name: dice(mask, self._reference[name]) for name, mask in claimed(answer, head, self._regions).items()}
        return mean_dice(scores[head.names[n]] for n in head.foreground), scores


def _several(cases: Case | Sequence[Case]) -> Sequence[Case]:
    several = (cases,) if isinstance(cases, Case) else cases
    if not len(several):
        raise InputError("An audit needs cases to attack; give one at least.")
    return several


def _against(case: Case) -> str:
    return "label" if case.label is not None else "prediction"


def _seconds(asked: Sequence[Probe]) -> float:
    """How long attacks take, in gradients."""
    return cost_of(asked).seconds(1.0, ANSWER)


@contextmanager
def _quietly() -> Iterator[None]:
    """Without the warning that an attack changed nothing: one of size 0 should not, and of others the checks tell."""
    logger = logging.getLogger(Attack.__module__)
    logger.addFilter(_refuse)
    try:
        yield
    finally:
        logger.removeFilter(_refuse)


def _refuse(record: logging.LogRecord) -> bool:
    return "changed nothing" not in record.msg
