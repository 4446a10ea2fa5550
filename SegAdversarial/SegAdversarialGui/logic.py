"""What the module can do without its panel: the panel and the Python console stand on the same few calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from SegAdversarialGui.console_arguments import againstPrediction, attackSettings, recipeSettings, regionOf, sourceOf
from SegAdversarialGui.console_progress import ConsoleProgress
from SegAdversarialGui.defense_tasks import AuditTask, CertifyTask, Training, TrainTask
from SegAdversarialGui.exchange import AttackTask, EvaluateTask, SampleTask, SegmentTask, Task
from SegAdversarialGui.runner import Runner
from SegAdversarialGui.subject import Subject
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
        source = sourceOf(model, trust, device)
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
        source = sourceOf(model, trust, device)
        subject = self._subject(volumeNodes, reference, source, labelNames)
        settings = attackSettings(attack)
        if reference is None:
            settings = againstPrediction(settings)
        return self._run(AttackTask(subject, source, settings, regionOf(region)), _("Attacking"))

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
        source = sourceOf(model, trust, device)
        subject = self._subject(volumeNodes, reference, source, labelNames)
        return self._run(EvaluateTask(subject, source, adversarialNodes), _("Measuring"))

    def train(
        self,
        cases: Any,
        folder: str,
        recipe: Any = "standard",
        network: Any = "UNet",
        reference: Any = None,
        *,
        model: str = DEFAULT_NETWORK,
        labelNames: Mapping[Any, str] | None = None,
        device: str = "auto",
        **settings: Any,
    ) -> Any:
        """Train a network by a recipe that should make it withstand attacks. A training that the folder holds is gone on with;
        cancelled, it keeps the network after the last epoch that was done.

        Args:
            cases: what it learns from: a folder of any known layout or a name such as `"phantom:16@48"` (`cohorts.find`), of
                which a fifth is kept to measure it on; or the volume nodes of one subject, with its `reference`.
            folder: where the network goes; `segment`, `attack` and the others take it as their `model`.
            recipe: a recipe of the library, its name, or `{"recipe": "noise-augmentation", "radius": 0.01}`.
            network: an architecture's name, or `{"name": "SegResNet", "arguments": {"init_filters": 16}}`.
            model: the network whose classes are learned where the cases do not name theirs.
            reference, labelNames, device: as in `segment`.
            settings: of the training: epochs, batch_size, learning_rate, ...

        Returns:
            `TrainedNetwork`: `.network` (the folder), `.nodes` with `.table` (a row for each epoch) and `.chart`.

        Raises:
            InputError: something that was given is wrong; the message says what and how to mend it.
            RuntimeError: the work failed for another reason, or was cancelled.

        Example::

            logic = SegAdversarialLogic()
            trained = logic.train("phantom:8@48", "/tmp/defended", "noise-augmentation", epochs=20)
            case = logic.sample()
            print(logic.segment(case.channels, trained.network, case.reference).segmentation.GetName())
        """
        from SegAdversarialLib.jobs import make_job

        source = sourceOf(model, False, device)
        named = isinstance(cases, (str, Path))
        subject = Subject(slicer.mrmlScene, {}) if named else self._subject(cases, reference, source, labelNames)
        data = {"kind": "train", "cases": [{"phantom": {}}], "output": str(folder), "network": network}
        architecture = make_job(data, _("Training")).network
        place = str(Path(folder).absolute())
        training = Training(recipeSettings(recipe), architecture, settings, place, str(cases) if named else "", device)
        return self._run(TrainTask(subject, source, training), _("Training"))

    def audit(
        self,
        volumeNodes: Mapping[str, Any] | Sequence[Any],
        model: str = DEFAULT_NETWORK,
        reference: Any = None,
        *,
        labelNames: Mapping[Any, str] | None = None,
        trust: bool = False,
        device: str = "auto",
        **settings: Any,
    ) -> Any:
        """Find out on a subject whether a network's robustness is real, or only hides its gradients.

        Args:
            volumeNodes, model, reference, labelNames, trust, device: as in `segment`.
            settings: of the audit: effort ("quick", "usual" or "thorough"), epsilons, steps, ...

        Returns:
            `FigureNodes`: `.table` (check, verdict, number, sentence), `.numbers` (Dice by epsilon), `.chart`.

        Raises:
            InputError: something that was given is wrong; the message says what and how to mend it.
            RuntimeError: the work failed for another reason, or was cancelled.

        Example::

            logic = SegAdversarialLogic()
            case = logic.sample()
            found = logic.audit(case.channels, reference=case.reference, effort="quick", epsilons=(0.05,), steps=2)
            print(found.table.GetCellText(0, 0), found.table.GetCellText(0, 1))
        """
        source = sourceOf(model, trust, device)
        subject = self._subject(volumeNodes, reference, source, labelNames)
        return self._run(AuditTask(subject, source, settings), _("Auditing"))

    def certify(
        self,
        volumeNodes: Mapping[str, Any] | Sequence[Any],
        model: str = DEFAULT_NETWORK,
        reference: Any = None,
        *,
        labelNames: Mapping[Any, str] | None = None,
        trust: bool = False,
        device: str = "auto",
        **settings: Any,
    ) -> Any:
        """Certify by noise what no attack within a radius can change of a network's answer.

        Args:
            volumeNodes, model, reference, labelNames, trust, device: as in `segment`.
            settings: sigma (of the noise, as a share of each channel's largest intensity), n (draws), alpha (the chance that
                anything is wrongly said to be certain), tau, n0, seed.

        Returns:
            `CertificateNodes`: `.segmentation` (with the abstained voxels as a segment of their own), `.votes` (a volume),
            `.table` (certified, smoothed and own Dice of each structure).

        Raises:
            InputError: something that was given is wrong; the message says what and how to mend it.
            RuntimeError: the work failed for another reason, or was cancelled.

        Example::

            logic = SegAdversarialLogic()
            case = logic.sample()
            found = logic.certify(case.channels, reference=case.reference, sigma=0.02, n=100)
            print(found.segmentation.GetName(), found.table.GetNumberOfRows())
        """
        source = sourceOf(model, trust, device)
        subject = self._subject(volumeNodes, reference, source, labelNames)
        return self._run(CertifyTask(subject, source, settings), _("Certifying"))

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

        progress = ConsoleProgress(text, self.runner.cancel)
        try:
            outcome = self.runner.run(task, progress)
        finally:
            progress.close()
        if outcome.kind == "done":
            return outcome.nodes
        raise (RuntimeError if outcome.details or outcome.kind == "cancelled" else InputError)(outcome.message)
