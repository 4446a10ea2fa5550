"""Training, auditing and certifying as tasks for the worker."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from slicer.i18n import tr as _

from SegAdversarialGui.exchange import OUTPUT, Task
from SegAdversarialGui.state import withoutTrust
from SegAdversarialGui.subject import Subject

if TYPE_CHECKING:
    from SegAdversarialLib.scene.steps import Steps

_VALIDATION_SHARE = 0.2
_NOT_NUMBERS = ("event", "id", "name")


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Attributes:
        recipe: the recipe's settings with its name, as a job takes them.
        network: the architecture: its name and arguments.
        settings: those of the training, epochs for example.
        folder: where the network goes, and where an earlier training is gone on from.
        cohort: what names the cases (`cohorts.find`); empty: the subject's volumes alone.
        device: where it is trained.
    """

    recipe: Mapping[str, Any]
    network: Mapping[str, Any]
    settings: Mapping[str, Any]
    folder: str
    cohort: str = ""
    device: str = "auto"


@dataclass(frozen=True)
class TrainedNetwork:
    """What a training gave: the network's folder, and the run of its curves in the scene (empty where they were deleted)."""

    network: str
    run: str
    nodes: Any


class TrainTask(Task):
    """Train a network; each epoch is shown in the scene at once.

    Args:
        subject: the volumes in the scene, of which the network learns where there is no cohort; else the scene alone counts.
        source: the chosen network: what is not known of the cases' classes is as with it.
        training: how it is trained.
        shown: called with the run's identifier when the first epoch is in the scene.
    """

    title = "train"

    def __init__(
        self,
        subject: Subject,
        source: Mapping[str, Any],
        training: Training,
        shown: Callable[[str], None] = lambda run: None,
    ) -> None:
        super().__init__(subject, source)
        self._training, self._shown = training, shown
        self._cases: list[dict[str, Any]] = []
        self._validation: list[dict[str, Any]] = []
        self._described: dict[str, Any] = {}
        self._curves: Any = None
        self._epochs = 0

    def prepare(self, folder: Path) -> Steps[None]:
        """Find the cases, or write the one that is in the scene; wrong settings are told of before."""
        from SegAdversarialLib import scene
        from SegAdversarialLib.defenses import recipes
        from SegAdversarialLib.scene.steps import in_background
        from SegAdversarialLib.training.settings import TrainingSettings

        training = self._training
        recipe = recipes.make(training.recipe)
        TrainingSettings(**training.settings)
        if training.cohort:
            self._enter("looking for cases")
            found = yield from in_background(lambda: _casesOf(training.cohort, self.source))
            self._cases, self._validation, self._described, classes, notes = found
            for note in notes:
                self.say(note)
        else:
            yield from self._prepareCase(folder)
            self._cases = [{"channels": self._files, "label": self._label, "name": self._case.name or "case"}]
            self._validation, self._described = self._cases, _describedBy(self._head, list(self._files))
            classes = self._described["classes"]
        assert self.subject is not None
        title = _("{recipe}, {network}").format(recipe=recipe.title, network=training.network["name"])
        record = {"training": {**vars(training), "recipe": withoutTrust(dict(training.recipe))}, "folder": training.folder}
        values = {int(label): name for label, name in classes.items() if label.isdigit()}
        self._curves = scene.TrainingCurves(self.subject.scene, title=title, record=record, classes=values)
        yield

    def job(self, folder: Path) -> dict[str, Any]:
        """A training."""
        training = self._training
        return {
            "kind": "train",
            "network": dict(training.network),
            "described": self._described,
            "recipe": dict(training.recipe),
            "cases": self._cases,
            "validation": self._validation,
            "settings": dict(training.settings),
            # what the worker is given of the scene lies in the task's own folder, which goes with the task
            "keep_cases": not training.cohort,
            "device": training.device,
            "output": training.folder,
        }

    def hear(self, event: Mapping[str, Any]) -> None:
        """Add an epoch to the table and the chart."""
        if event["event"] != "trace":
            return
        self._epochs = int(event["epoch"]) + 1
        first = self._curves.nodes is None
        self._curves.add({key: x for key, x in event.items() if key not in _NOT_NUMBERS})
        if first:
            self._shown(self._curves.nodes.run)

    def cancelledSentence(self) -> str:
        """What is left of a training that was cancelled."""
        if not self._epochs:
            return _("Cancelled before the first epoch was done.")
        return _(
            "Cancelled; {folder} holds the network after epoch {n}, and training again with this folder goes on from there."
        ).format(n=self._epochs, folder=self._training.folder)

    def deliver(self, folder: Path) -> Steps[None]:
        """The network is in its folder; the curves are in the scene."""
        nodes = self._curves.nodes if self._curves.there else None
        self.nodes = TrainedNetwork(self._training.folder, nodes.run if nodes is not None else "", nodes)
        yield

    def checkPresent(self) -> None:
        """The subject was read before: its nodes may go."""


class AuditTask(Task):
    """Find out on a subject whether a network's robustness is real."""

    title = "audit"

    def __init__(self, subject: Subject, source: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        super().__init__(subject, source)
        self._settings = dict(settings)

    def prepare(self, folder: Path) -> Steps[None]:
        """Write the channels and the reference; wrong settings are told of before."""
        from SegAdversarialLib.defenses.audit import AuditSettings

        AuditSettings(**self._settings)
        yield from self._prepareCase(folder)

    def job(self, folder: Path) -> dict[str, Any]:
        """An audit."""
        common = self._common(folder)
        return {
            "kind": "audit",
            "model": common["model"],
            "cases": [common["case"]],
            "settings": self._settings,
            "output": common["output"],
        }

    def deliver(self, folder: Path) -> Steps[None]:
        """Add the table of checks, and Dice against epsilon."""
        from SegAdversarialLib import scene
        from SegAdversarialLib.jobs.defense_results import read_audit
        from SegAdversarialLib.scene.steps import in_background

        self._enter("reading results")
        found = yield from in_background(lambda: read_audit(folder / OUTPUT))
        self._enter("adding nodes")
        assert self.subject is not None
        record = {key: x for key, x in found.items() if key not in ("rows", "attacks")}
        steps = scene.audit_steps(
            found["rows"],
            found["epsilons"],
            self.subject.scene,
            title=_("audit of {network}").format(network=networkName(self.source)),
            record={**record, "network": withoutTrust(self.source), "case": self._case.name},
        )
        self.nodes = yield from self._whilePresent(steps)


class CertifyTask(Task):
    """Certify what no attack within a radius can change of a network's answer for a subject."""

    title = "certify"

    def __init__(self, subject: Subject, source: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        super().__init__(subject, source)
        self._settings = dict(settings)

    def prepare(self, folder: Path) -> Steps[None]:
        """Write the channels and the reference; wrong settings are told of before."""
        from SegAdversarialLib.jobs import make_job

        make_job({"kind": "certify", "case": {"phantom": {}}, "output": "results", **self._settings}, _("Certify"))
        yield from self._prepareCase(folder)

    def job(self, folder: Path) -> dict[str, Any]:
        """A certificate."""
        return {"kind": "certify", **self._common(folder), **self._settings}

    def deliver(self, folder: Path) -> Steps[None]:
        """Add the smoothed answer, the abstained voxels, the share of votes and the table."""
        from SegAdversarialLib import scene
        from SegAdversarialLib.jobs.defense_results import read_certificate
        from SegAdversarialLib.scene.steps import in_background

        self._enter("reading results")
        found = yield from in_background(lambda: read_certificate(folder / OUTPUT, self._case))
        merged = yield from in_background(lambda: self._merged)
        tests = found.record["certificate"]
        title = _("certificate of {network}, {n} draws, tau {tau:g}").format(
            network=networkName(self.source), n=tests["n"], tau=tests["tau"]
        )
        self._enter("adding nodes")
        assert self.subject is not None
        steps = scene.certificate_steps(
            merged,
            found.labels,
            found.abstained,
            found.vote_share,
            found.rows,
            self._inputs,
            self.subject.scene,
            title=title,
            names=self._names,
            record={**found.record, "network": withoutTrust(self.source)},
        )
        self.nodes = yield from self._whilePresent(steps)


def networkName(source: Mapping[str, Any]) -> str:
    """What a network is called in titles."""
    return Path(source["path"]).name.removeprefix("builtin:")


class _FoundCases(NamedTuple):
    """What a training learns from and is measured on, what is said of its network, its classes by label value, and notes."""

    cases: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    described: dict[str, Any]
    classes: Mapping[str, str]
    notes: list[str]


def _casesOf(name: str, source: Mapping[str, Any]) -> _FoundCases:
    """The cases of a cohort.

    Raises:
        InputError: there are no cases with references.
    """
    from SegAdversarialLib import cohorts
    from SegAdversarialLib.errors import InputError
    from SegAdversarialLib.formats import describe_file

    every = cohorts.find(name)
    wrong = {x.name for x in every.entries if not x.has_reference or every.problems(x)}
    usable, notes = every.without(wrong), []
    if not len(usable):
        sentence = _("None of the {n} cases of {name} has all channels and a reference, which are needed to train.")
        raise InputError(sentence.format(n=len(every), name=name))
    if wrong:
        notes.append(_("{n} cases without a reference or with other channels are left out.").format(n=len(wrong)))
    parts = usable.split(_VALIDATION_SHARE) if len(usable.patients) > 1 else (usable, usable)
    known = next((x.names for x in usable.entries if x.names), {})
    described = {} if known else _describedBy(describe_file(source["path"], source.get("settings")).output_head(), None)
    sources = [[x.source() for x in part.entries] for part in parts]
    return _FoundCases(sources[0], sources[1], described, known or described["classes"], notes)


def _describedBy(head: Any, channels: list[str] | None) -> dict[str, Any]:
    """What a network is to give: as one that is known."""
    described: dict[str, Any] = {
        "classes": {str(label): name for label, name in zip(head.labels, head.names)},
        "head": head.kind,
    }
    merged = {name: list(region) for label, name, region in zip(head.labels, head.names, head.regions) if region != (label,)}
    if merged:
        described["stands_for"] = merged
    if channels is not None:
        described["channels"] = channels
    return json.loads(json.dumps(described))  # type: ignore[no-any-return]
