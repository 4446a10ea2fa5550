"""What is asked of the worker, and how nodes become its files and its files become nodes."""

from __future__ import annotations

import dataclasses
import functools
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slicer.i18n import tr as _

from SegAdversarialGui.state import withoutTrust
from SegAdversarialGui.subject import Region, Subject
from SegAdversarialLib.volumes.files import RESULT_MARKER

if TYPE_CHECKING:
    from SegAdversarialLib.scene.steps import Steps

ENDING = ".nrrd"
"""The kind of file that volumes travel in: quick to write, any grid, and readable without further packages."""

OUTPUT = "results"


class Task(ABC):
    """One piece of work for the worker: files for it are prepared in steps, and its results delivered in steps.

    Between two steps Slicer's window answers. Files and arrays are the background thread's work. The scene is changed at the
    very end, as a whole or not at all.

    Attributes:
        phase: what the steps are at.
        say: tells the user something worth noting.
    """

    title: str

    def __init__(self, subject: Subject | None, source: Mapping[str, Any]) -> None:
        self.subject, self.source = subject, dict(source)
        self.nodes: Any = None
        self.phase = ""
        self.say: Callable[[str], None] = lambda text: None
        self._case: Any = None
        self._head: Any = None

    @abstractmethod
    def prepare(self, folder: Path) -> Steps[None]:
        """Write what the worker needs into the folder."""

    @abstractmethod
    def job(self, folder: Path) -> dict[str, Any] | None:
        """The job, as `SegAdversarialLib.jobs` takes it; None: there is nothing for the worker to do."""

    @abstractmethod
    def deliver(self, folder: Path) -> Steps[None]:
        """Read what the worker wrote, and add it to the scene; sets `nodes`."""

    def hear(self, event: Mapping[str, Any]) -> None:  # noqa: B027  (most tasks wait for the end)
        """What the worker tells on the way: the rows of a trace, results."""

    def cancelledSentence(self) -> str:
        """What to tell the user when it was cancelled."""
        return _("Cancelled; the scene was not changed.")

    def checkPresent(self) -> None:
        """Find out whether the nodes are still in the scene.

        Raises:
            InputError: one was removed.
        """
        from SegAdversarialLib.errors import InputError

        for node in self.subject.nodes if self.subject is not None else []:
            if not self.subject.scene.IsNodePresent(node):
                raise InputError(
                    _("{name} was removed from the scene while the work was going on; its result was dropped.").format(
                        name=node.GetName()
                    )
                )

    def _enter(self, phase: str) -> None:
        self.phase = phase

    def _whilePresent(self, steps: Steps[Any]) -> Steps[Any]:
        """Steps that are closed, so that they leave nothing behind, as soon as one of the nodes has gone."""
        try:
            while True:
                self.checkPresent()
                try:
                    waited = next(steps)
                except StopIteration as end:
                    return end.value
                yield waited
        finally:
            steps.close()

    def _prepareCase(self, folder: Path) -> Steps[None]:
        from SegAdversarialLib import scene
        from SegAdversarialLib.formats import describe_file
        from SegAdversarialLib.scene.steps import in_background
        from SegAdversarialLib.volumes.files import file_name
        from SegAdversarialLib.volumes.writing import write_volume

        assert self.subject is not None
        self._enter("reading nodes")
        described = yield from in_background(lambda: describe_file(self.source["path"], self.source.get("settings")))
        self._head = described.output_head()
        channels = {x: self.subject.channels.get(x) for x in described.channels}
        self._case = yield from scene.reading_steps(
            channels, reference=self.subject.reference, head=self._head, label_names=self.subject.segments
        )
        self._enter("writing files")
        case = self._case
        paths = {x: folder / f"{file_name(x)}{ENDING}" for x in case.channels}
        self._files = {x: str(path) for x, path in paths.items()}
        for path, *content in zip(paths.values(), case.image, case.dtypes):
            yield from in_background(functools.partial(_write, path, *content, case.affine))
        self._label = None
        if case.label is not None:
            path = folder / f"reference{ENDING}"
            yield from in_background(lambda: write_volume(path, case.label, case.affine))
            self._label = str(path)

    def _common(self, folder: Path) -> dict[str, Any]:
        return {
            "model": self.source,
            "case": {"channels": self._files, "label": self._label, "name": self._case.name},
            "output": str(folder / OUTPUT),
            "ending": ENDING,
        }

    @property
    def _names(self) -> dict[int, str]:
        return dict(zip(self._head.labels, self._head.names))

    @property
    def _merged(self) -> Any:
        """The case with its reference in the network's own classes, so that a colour and a name mean the same everywhere."""
        if self._case.label is None:
            return self._case
        return dataclasses.replace(self._case, label=self._head.merged(self._case.label))

    @property
    def _inputs(self) -> dict[str, Any]:
        assert self.subject is not None
        return {channel: self.subject.channels[channel] for channel in self._case.channels}


class SegmentTask(Task):
    """Segment a subject."""

    title = "segment"

    def prepare(self, folder: Path) -> Steps[None]:
        """Write the channels and the reference."""
        yield from self._prepareCase(folder)

    def job(self, folder: Path) -> dict[str, Any]:
        """A segmentation."""
        return {"kind": "segment", **self._common(folder)}

    def deliver(self, folder: Path) -> Steps[None]:
        """Add the segmentation and its table."""
        from SegAdversarialLib import scene
        from SegAdversarialLib.evaluation.files import versions
        from SegAdversarialLib.evaluation.measuring import notes_on_label_map
        from SegAdversarialLib.scene.steps import in_background

        self._enter("reading results")
        results = yield from in_background(_readers)
        labels, rows = yield from in_background(lambda: results.read_segmentation(folder / OUTPUT))
        self._enter("adding nodes")
        assert self.subject is not None
        network = Path(self.source["path"]).name.removeprefix("builtin:")
        record = {"network": withoutTrust(self.source), "case": self._case.name, "rows": rows, "versions": versions()}
        notes = yield from in_background(lambda: notes_on_label_map(labels, self._head, self._case.label))
        record["notes"] = notes
        self.nodes = yield from self._whilePresent(
            scene.segmentation_steps(
                self._case, labels, rows, self._inputs, self.subject.scene, names=self._names, title=network, record=record
            )
        )


class AttackTask(Task):
    """Attack a subject with one attack."""

    title = "attack"

    def __init__(
        self, subject: Subject, source: Mapping[str, Any], attack: Mapping[str, Any], region: Region | None = None
    ) -> None:
        super().__init__(subject, source)
        self._attack, self._region = dict(attack), region or Region()

    def prepare(self, folder: Path) -> Steps[None]:
        """Write the channels, the reference and the region; a wrong configuration is found before any of it."""
        from SegAdversarialLib import scene
        from SegAdversarialLib.attacks import make_attack
        from SegAdversarialLib.scene.steps import in_background
        from SegAdversarialLib.volumes.files import file_name
        from SegAdversarialLib.volumes.writing import write_volume

        settings = dict(self._attack)
        make_attack(settings.pop("attack"), settings)
        yield from self._prepareCase(folder)
        region = self._region
        if region.kind == "node":
            grid = next(iter(self._inputs.values()))
            self._enter("reading nodes")
            mask = yield from scene.mask_steps(region.node, grid, segment=region.segment)
            place = folder / "region"
            place.mkdir()
            path = place / f"{file_name(_regionName(region))}{ENDING}"
            self._enter("writing files")
            yield from in_background(lambda: write_volume(path, mask, self._case.affine))
            self._attack["region"] = str(path)
        elif region.kind:
            self._attack["region"] = region.kind
        yield

    def job(self, folder: Path) -> dict[str, Any]:
        """One attack."""
        return {"kind": "attack", **self._common(folder), "attacks": [self._attack]}

    def deliver(self, folder: Path) -> Steps[None]:
        """Add all that the attack did."""
        from SegAdversarialLib import scene
        from SegAdversarialLib.scene.steps import in_background

        self._enter("reading results")
        results = yield from in_background(_readers)
        (place,) = (x.parent for x in (folder / OUTPUT).glob(f"*/{RESULT_MARKER}"))
        result, evaluation = yield from in_background(lambda: results.read_attack(place, self._case))
        record = _record(place)
        if self._region.kind == "node":
            record["attack"]["region"] = _regionName(self._region)
        result = yield from in_background(functools.partial(result.in_classes_of, self._head))
        assert self.subject is not None
        self._enter("making nodes")
        self.nodes = yield from self._whilePresent(
            scene.result_steps(
                result,
                evaluation,
                self._inputs,
                self.subject.scene,
                names=self._names,
                record=record,
                adding=lambda: self._enter("adding nodes"),
            )
        )


class EvaluateTask(Task):
    """Measure what any change of the images does to a network's answer."""

    title = "evaluate"

    def __init__(self, subject: Subject, source: Mapping[str, Any], adversarial: Mapping[str, Any]) -> None:
        super().__init__(subject, source)
        self._adversarial = dict(adversarial)

    def prepare(self, folder: Path) -> Steps[None]:
        """Write the channels before and after, and the reference."""
        from SegAdversarialLib import scene
        from SegAdversarialLib.scene.steps import in_background
        from SegAdversarialLib.volumes.files import file_name

        yield from self._prepareCase(folder)
        self._enter("reading nodes")
        after = yield from scene.reading_steps({**self._inputs, **self._adversarial})
        self._enter("writing files")
        place = folder / "adversarial"
        place.mkdir()
        self._after: dict[str, str] = {}
        for channel in self._adversarial:
            n = after.channel_index(channel)
            path = place / f"{file_name(channel)}{ENDING}"
            yield from in_background(functools.partial(_write, path, after.image[n], after.dtypes[n], after.affine))
            self._after[channel] = str(path)

    def job(self, folder: Path) -> dict[str, Any]:
        """An evaluation."""
        return {"kind": "evaluate", **self._common(folder), "adversarial": self._after}

    def deliver(self, folder: Path) -> Steps[None]:
        """Add the table and both segmentations."""
        from SegAdversarialLib import scene
        from SegAdversarialLib.scene.steps import in_background

        self._enter("reading results")
        results = yield from in_background(_readers)
        evaluation = yield from in_background(lambda: results.read_evaluation(folder / OUTPUT, self._case))
        merged = yield from in_background(lambda: self._merged)
        assert self.subject is not None
        self._enter("adding nodes")
        self.nodes = yield from self._whilePresent(
            scene.evaluation_steps(
                merged,
                evaluation,
                self._inputs,
                self.subject.scene,
                names=self._names,
                title=_("evaluation"),
                adversarial=self._adversarial,
                record=_record(folder / OUTPUT / "evaluation"),
            )
        )


class SampleTask(Task):
    """Make the synthetic subject and put it into the scene."""

    title = "sample"

    def __init__(self, scene: Any, seed: int = 7) -> None:
        super().__init__(None, {})
        self._scene, self._seed = scene, seed

    def prepare(self, folder: Path) -> Steps[None]:
        """Nothing: the subject is made from a number."""
        yield

    def job(self, folder: Path) -> dict[str, Any]:
        """A phantom."""
        return {"kind": "phantom", "seeds": [self._seed], "output": str(folder / OUTPUT), "ending": ENDING}

    def deliver(self, folder: Path) -> Steps[None]:
        """Add its channels and its reference labels."""
        from SegAdversarialLib import scene
        from SegAdversarialLib.phantom import CHANNELS, LABEL_NAMES
        from SegAdversarialLib.scene.steps import in_background
        from SegAdversarialLib.volumes.case import Case

        (place,) = (x for x in (folder / OUTPUT).iterdir() if x.is_dir())
        files = {channel: place / f"{channel}{ENDING}" for channel in CHANNELS}
        self._enter("reading results")
        case = yield from in_background(lambda: Case.read(files, place / f"label{ENDING}", name=place.name))
        self._enter("adding nodes")
        self.nodes = yield from scene.case_steps(case, self._scene, names=LABEL_NAMES)


def _readers() -> Any:
    """What reads results; to import it takes long the first time."""
    from SegAdversarialLib.jobs import results

    return results


def _write(path: Path, values: Any, dtype: str, affine: Any) -> None:
    """Write a channel in its own voxel type."""
    from SegAdversarialLib.volumes.writing import stored, write_volume

    write_volume(path, stored(values, dtype), affine)


def _record(folder: Path) -> dict[str, Any]:
    """All that the worker has written down of a result."""
    record: dict[str, Any] = json.loads((folder / RESULT_MARKER).read_text(encoding="utf-8"))
    return record


def _regionName(region: Region) -> str:
    segmentation = getattr(region.node, "GetSegmentation", None)
    segment = segmentation().GetSegment(region.segment) if segmentation is not None and region.segment else None
    return segment.GetName() if segment is not None else region.node.GetName()
