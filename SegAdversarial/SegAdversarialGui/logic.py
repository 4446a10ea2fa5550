"""What the module can do without its panel: the panel and the Python console stand on the same few calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from SegAdversarialGui.exchange import AttackTask, EvaluateTask, Region, SampleTask, SegmentTask, Subject, Task
from SegAdversarialGui.runner import Listener, Runner
from SegAdversarialGui.worker import Worker, sharedWorker

DEFAULT_NETWORK = "builtin:brain-tumour-phantom"


class Logic:
    """Segments, attacks and measures volumes of the scene.

    The calls return when the work is done; Slicer's window answers meanwhile, and progress is shown in a dialog (or printed,
    where there is no window). Each adds its nodes to the scene as a whole or not at all and never changes its inputs.

    Attributes:
        worker: the process in which networks run.
        runner: runs one task at a time in it.
    """

    def __init__(self, worker: Worker | None = None) -> None:
        self.worker = worker if worker is not None else sharedWorker()
        self.runner = Runner(self.worker)

    def sample(self, seed: int = 7) -> Any:
        """Make a synthetic subject with a brain tumour: T1, T1ce, T2, FLAIR and its reference segmentation.

        Returns:
            `CaseNodes`: `.channels` (a volume node for each channel), `.reference` (a segmentation node), `.folder`.

        Example::

            logic = SegAdversarialLogic()
            case = logic.sample(seed=7)
        """
        return self._run(SampleTask(slicer.mrmlScene, seed), _("Making a synthetic subject"))

    def segment(
        self,
        volumeNodes: Mapping[str, Any] | Sequence[Any],
        model: str = DEFAULT_NETWORK,
        reference: Any = None,
        *,
        labelNames: Mapping[Any, str] | None = None,
        trust: bool = False,
        device: str = "auto",
    ) -> Any:
        """Let a network segment volumes.

        Args:
            volumeNodes: the scalar volume node of each channel, `{"T1": node, ...}`; or the nodes in the network's order.
            model: a built-in network's name, a network file, or its folder.
            reference: a segmentation or label map node with the true structures; then Dice is measured too.
            labelNames: what segments of the reference are, where their names do not say it: the network's class, or
                "background", by a segment's name, ID or label value, such as `{"left": "kidney_left"}`.
            trust: open files that are programs (TorchScript); say so only if you trust their source.
            device: "auto", "cpu", "cuda", "cuda:1" or "mps".

        Returns:
            `SegmentationNodes`: `.segmentation` (a segmentation node), `.table` (volume, and Dice with a reference).

        Raises:
            InputError: something that was given is wrong; the message says what and how to mend it.
            RuntimeError: the work failed for another reason, or was cancelled.

        Example::

            logic = SegAdversarialLogic()
            case = logic.sample()
            nodes = logic.segment(case.channels, reference=case.reference)
            print(nodes.segmentation.GetName())
        """
        source = _source(model, trust, device)
        subject = self._subject(volumeNodes, reference, source, labelNames)
        return self._run(SegmentTask(subject, source), _("Segmenting"))

    def attack(
        self,
        volumeNodes: Mapping[str, Any] | Sequence[Any],
        model: str = DEFAULT_NETWORK,
        attack: Any = "fgsm",
        reference: Any = None,
        region: Any = None,
        *,
        labelNames: Mapping[Any, str] | None = None,
        trust: bool = False,
        device: str = "auto",
    ) -> Any:
        """Attack a network on volumes, and measure what that does.

        Args:
            volumeNodes: the scalar volume node of each channel, `{"T1": node, ...}`; or the nodes in the network's order.
            model: a built-in network's name, a network file, or its folder.
            attack: an attack of the library, such as `attacks.FGSM(epsilon=0.05)`; its name; or a dictionary such as
                `{"attack": "pgd", "epsilon": 0.02, "steps": 40}`. An attack that opens a network file of its own has a `trust`
                of its own for it: `attacks.Transfer(source="other.ts", trust=True)`.
            reference: a segmentation or label map node with the true structures; without it the network's own answer takes
                its place (`against="prediction"`).
            region: where the images may be changed: a label map or markups ROI node; a pair of a segmentation node and a
                segment's name or ID; "foreground" (voxels above 0); "reference" (labelled voxels); None: everywhere.
            labelNames: as in `segment`.
            trust: open files that are programs (TorchScript); say so only if you trust their source.
            device: "auto", "cpu", "cuda", "cuda:1" or "mps".

        Returns:
            `ResultNodes`: `.adversarial` and `.perturbation` (a volume node for each channel), `.clean` and `.attacked`
            (segmentation nodes), `.metrics` (a table node), `.chart`, `.browser` (of the iterations), and more.

        Raises:
            InputError: something that was given is wrong; the message says what and how to mend it.
            RuntimeError: the work failed for another reason, or was cancelled.

        Example::

            from SegAdversarialLib import attacks
            logic = SegAdversarialLogic()
            case = logic.sample()
            nodes = logic.attack(case.channels, attack=attacks.FGSM(epsilon=0.05), reference=case.reference)
            print(slicer.util.arrayFromVolume(nodes.adversarial["T1"]).mean())
        """
        source = _source(model, trust, device)
        subject = self._subject(volumeNodes, reference, source, labelNames)
        settings = attackSettings(attack)
        if reference is None:
            settings = againstPrediction(settings)
        return self._run(AttackTask(subject, source, settings, _region(region)), _("Attacking"))

    def evaluate(
        self,
        volumeNodes: Mapping[str, Any] | Sequence[Any],
        adversarialNodes: Mapping[str, Any],
        model: str = DEFAULT_NETWORK,
        reference: Any = None,
        *,
        labelNames: Mapping[Any, str] | None = None,
        trust: bool = False,
        device: str = "auto",
    ) -> Any:
        """Measure what a change of the images does to a network's answer, whoever made it: an attack on another network, a
        filter, another scan.

        Args:
            volumeNodes: the original volume node of each channel, `{"T1": node, ...}`; or the nodes in the network's order.
            adversarialNodes: the changed volume node of each channel that was changed.
            model: a built-in network's name, a network file, or its folder.
            reference: a segmentation or label map node with the true structures.
            labelNames, trust, device: as in `segment`.

        Returns:
            `EvaluationNodes`: `.metrics` (a table node), `.clean` and `.attacked` (segmentation nodes).

        Raises:
            InputError: something that was given is wrong; the message says what and how to mend it.
            RuntimeError: the work failed for another reason, or was cancelled.

        Example::

            logic = SegAdversarialLogic()
            case = logic.sample()
            nodes = logic.attack(case.channels, attack="fgsm", reference=case.reference)
            again = logic.evaluate(case.channels, nodes.adversarial, reference=case.reference)
            print(slicer.util.arrayFromTableColumn(again.metrics, "after"))
        """
        source = _source(model, trust, device)
        subject = self._subject(volumeNodes, reference, source, labelNames)
        return self._run(EvaluateTask(subject, source, adversarialNodes), _("Measuring"))

    def _subject(
        self,
        volumeNodes: Mapping[str, Any] | Sequence[Any],
        reference: Any,
        source: Mapping[str, Any],
        labelNames: Mapping[Any, str] | None,
    ) -> Subject:
        segments = dict(labelNames or {})
        if isinstance(volumeNodes, Mapping):
            return Subject(slicer.mrmlScene, dict(volumeNodes), reference, segments)
        from SegAdversarialLib.errors import InputError
        from SegAdversarialLib.formats import describe_file

        channels = describe_file(source["path"]).channels
        if len(volumeNodes) != len(channels):
            raise InputError(
                _("The network takes {wanted} channels ({names}), {given} volumes were given; give one for each.").format(
                    wanted=len(channels), names=", ".join(channels), given=len(volumeNodes)
                )
            )
        return Subject(slicer.mrmlScene, dict(zip(channels, volumeNodes)), reference, segments)

    def _run(self, task: Task, text: str) -> Any:
        from SegAdversarialLib.errors import InputError

        progress = _Progress(text, self.runner.cancel)
        try:
            outcome = self.runner.run(task, progress)
        finally:
            progress.close()
        if outcome.kind == "done":
            return outcome.nodes
        raise (RuntimeError if outcome.details or outcome.kind == "cancelled" else InputError)(outcome.message)


class _Progress(Listener):
    """Shows the progress of a call from the console: in a dialog, or as text where there is no window."""

    def __init__(self, text: str, cancel: Any) -> None:
        self._last, self._dialog = "", None
        if slicer.util.mainWindow() is not None:
            self._dialog = slicer.util.createProgressDialog(labelText=text, maximum=1000, value=0)
            self._dialog.connect("canceled()", cancel)

    def onProgress(self, fraction: float, message: str, remaining: float | None) -> None:
        """Show how far the work is."""
        if self._dialog is not None:
            self._dialog.labelText = message
            # a dialog that reaches its maximum would close itself
            self._dialog.setValue(min(round(1000 * fraction), 999))
        elif message != self._last:
            print(f"{fraction:4.0%}  {message}", flush=True)
        self._last = message

    def onLog(self, text: str) -> None:
        """Print what is worth noting."""
        print(text, flush=True)

    def close(self) -> None:
        """The work is over."""
        if self._dialog is not None:
            # closing it would count as cancelling, also of what somebody else is running
            self._dialog.blockSignals(True)
            self._dialog.close()
            self._dialog.deleteLater()
            self._dialog = None


def attackSettings(attack: Any) -> dict[str, Any]:
    """An attack's configuration as a job takes it, from an attack, its name or a dictionary.

    Raises:
        InputError: it is none of them.
    """
    from SegAdversarialLib.errors import InputError

    if isinstance(attack, str):
        return {"attack": attack}
    if isinstance(attack, Mapping) and "attack" in attack:
        return dict(attack)
    if hasattr(attack, "describe"):
        described: dict[str, Any] = attack.describe()
        if isinstance(described.get("region"), Mapping):
            raise InputError(_("Give the region as a node (region=...), not as an array inside the attack."))
        if isinstance(described.get("source"), Mapping):
            raise InputError(_("Give the attack's source network as a file: the attack runs in another process."))
        if getattr(attack, "trust", False):
            # stored configurations do not hold it; an attack that was made by hand does
            described["trust"] = True
        return described
    raise InputError(
        _('{attack} is no attack; give one such as attacks.FGSM(epsilon=0.05), a name, or {{"attack": "fgsm", ...}}.').format(
            attack=repr(attack)
        )
    )


def againstPrediction(settings: Mapping[str, Any]) -> dict[str, Any]:
    """An attack's configuration with the network's own answer in the place of the reference, where it works against one; in a
    transfer that goes for the attack that it makes.

    Raises:
        InputError: there is no such attack, or the configuration of a transfer is wrong.
    """
    from SegAdversarialLib.attacks import attack_class, make_attack

    changed = dict(settings)
    cls = attack_class(settings["attack"])
    if "against" in cls.model_fields:
        changed["against"] = "prediction"
    elif "method" in cls.model_fields:
        own = {key: value for key, value in settings.items() if key != "attack"}
        changed["method"] = againstPrediction(make_attack(cls.name, own).describe()["method"])
    return changed


def _source(model: str, trust: bool, device: str) -> dict[str, Any]:
    return {"path": str(model), "trust": trust, "device": device}


def _region(region: Any) -> Region:
    if region is None or isinstance(region, str):
        return Region(region or "")
    if isinstance(region, Sequence):
        node, segment = region
        return Region("node", node, _segmentId(node, segment))
    return Region("node", region)


def _segmentId(node: Any, segment: str) -> str:
    """A segment's ID from its ID or its name."""
    segmentation = node.GetSegmentation()
    return segment if segmentation.GetSegment(segment) else segmentation.GetSegmentIdBySegmentName(segment) or segment
