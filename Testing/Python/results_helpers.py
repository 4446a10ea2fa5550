"""Results in a scene of their own, and the Results section that shows them, as a test drives it."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from gui_helpers import settle

from SegAdversarialLib import scene as scenes
from SegAdversarialLib.attacks.result import AttackResult, Snapshot
from SegAdversarialLib.changes.perturbation import Perturbation
from SegAdversarialLib.volumes.case import Case

ITERATIONS = (0, 4, 10)
NOTES = ("The network's mean Dice on the unchanged case is only 0.38.",)
ROWS = [
    {"structure": "tumour", "metric": "Dice", "unit": "", "before": 0.94, "after": 0.41, "drop": 0.5638, "success": True},
    {"structure": "tumour", "metric": "Volume", "unit": "ml", "before": 20.0, "after": 8.0, "drop": float("nan")},
    {"structure": "core", "metric": "Dice", "unit": "", "before": 0.9, "after": 0.85, "drop": 0.0556, "success": False},
    {"channel": "T1", "metric": "PSNR", "unit": "dB", "value": 31.5},
]


def made(shift: float = 0.0, unchanged: bool = False) -> tuple[AttackResult, Any]:
    """An attack in ten steps on T1 (and T2) of a block of tissue, in which an off-centre tumour shrinks.

    Args:
        shift: of the patient, in mm.
        unchanged: whether T2 was left as it was.
    """
    shape = (20, 24, 22)
    image = np.full((2, *shape), 100, np.float32)
    image[1] += 50
    label = np.zeros(shape, np.int16)
    label[12:16, 5:13, 4:12], label[13, 3:15, 3:14] = 2, 2
    label[13:15, 7:10, 6:9] = 1
    affine = np.diag([-3.0, -3.0, 4.0, 1.0])
    affine[:3, 3] = (30, 35, -40 + shift)
    case = Case(image, ("T1", "T2"), affine, label, {1: "core", 2: "tumour"}, "patient", ("int16", "int16"))
    added = np.zeros_like(image)
    added[:, 2:-2] = 10
    added[:, :, ::2] *= -1
    added[1] *= not unchanged
    attack = types.SimpleNamespace(
        name="fgsm",
        title="FGSM",
        channels=("T1", "T2"),
        seed=1,
        summary=lambda: "FGSM, epsilon 0.05",
        describe=lambda: {"attack": "fgsm", "epsilon": 0.05},
    )
    attacked = np.where(label == 1, 2, 0).astype(np.int16)
    states = [
        Snapshot(n, image + added * np.float32(n / 10), (label if n < 10 else attacked).astype(np.int16)) for n in ITERATIONS
    ]
    trace = [{"restart": 0, "iteration": n, "loss": 0.1 * n, "dice tumour": 0.9, "dice mean": 0.9} for n in range(11)]
    adversarial = case.with_image(image + added)
    result = AttackResult(case, adversarial, Perturbation(added), attack, "network", trace=trace, snapshots=states)  # type: ignore[arg-type]
    return result, types.SimpleNamespace(rows=ROWS, clean=label, attacked=attacked, reference="label", notes=NOTES)


class Stage:
    """The section on the host's scene and views, and what a test wants to know of them."""

    def __init__(self) -> None:
        import slicer
        from SegAdversarialGui import layout
        from SegAdversarialGui.results_section import ResultsSection
        from SegAdversarialGui.state import State

        self.scene, self.manager, self.layout = slicer.mrmlScene, slicer.app.layoutManager(), layout
        self.manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
        self.section = ResultsSection(lambda: scenes.find_results(self.scene), lambda: slicer.app.layoutManager())
        self.section.setScene(self.scene)
        self.newState = lambda: State(self.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "choices"))
        self.state = self.newState()
        self.section.setState(self.state)

    def add(self, **how: Any) -> Any:
        """Put a result into the scene, as after an attack."""
        result, evaluation = made(**how)
        nodes = scenes.add_result(result, evaluation, self.inputs(), self.scene)
        self.section.select(nodes.run)
        settle()
        return nodes

    def inputs(self) -> Any:
        results = scenes.find_results(self.scene)
        return results[0].inputs if results else None

    def composite(self, tag: str) -> Any:
        return self.layout.viewNode(self.scene, "vtkMRMLSliceCompositeNode", tag)

    def view(self, tag: str) -> Any:
        return self.layout.viewNode(self.scene, "vtkMRMLSliceNode", tag)

    def shown(self, tag: str) -> tuple[Any, Any]:
        """The volumes in the background and the foreground of a slice view."""
        composite = self.composite(tag)
        found = (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID())
        return tuple(self.scene.GetNodeByID(x) if x else None for x in found)  # type: ignore[return-value]

    def answers(self, tag: str) -> set[str]:
        """The names of the segmentations that a view shows."""
        nodes = self.layout.nodesOfClass(self.scene, "vtkMRMLSegmentationNode")
        return {x.GetName() for x in nodes if x.GetDisplayNode().GetVisibility(self.view(tag).GetID())}

    def press(self, view: str) -> None:
        self.section.viewButtons[view].click()
        settle()


@pytest.fixture(name="stage")
def _stage(slicerHost: Any) -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.section.cleanup()
    stage.scene.Clear(0)
