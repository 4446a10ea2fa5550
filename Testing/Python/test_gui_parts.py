"""The Results section with perturbations of several parts: overlays, grid lines and the reference that has moved."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gui_helpers import settle
from results_helpers import Stage, _stage, made  # noqa: F401  (a fixture)

from SegAdversarialLib import scene as scenes
from SegAdversarialLib.changes.perturbation import Perturbation

ORIGINAL, ADVERSARIAL, DIFFERENCE = "SegAdversarialOriginal", "SegAdversarialAdversarial", "SegAdversarialDifference"


def add(stage: Stage) -> Any:
    """A result of all three parts: shifted by one voxel, 5 % brighter, and what `made` adds."""
    result, evaluation = made()
    displacement = np.zeros((3, *result.original.shape), np.float32)
    displacement[0] = 3
    bias = np.full((1, *result.original.shape), np.log(1.05), np.float32)
    perturbation = Perturbation(result.perturbation.additive, bias, displacement)
    adversarial = perturbation.apply(result.original, warp_label=True)
    result = replace(result, adversarial=adversarial, perturbation=perturbation, snapshots=[])
    nodes = scenes.add_result(result, evaluation, stage.inputs(), stage.scene)
    stage.section.select(nodes.run)
    settle()
    return nodes


def choose(box: Any, value: str) -> None:
    box.setCurrentIndex(box.findData(value))
    box.activated.emit(box.currentIndex)
    settle()


def visible(stage: Stage, widget: Any) -> bool:
    return widget.isVisibleTo(stage.section.widget)


def test_an_addition_offers_no_parts(stage: Stage) -> None:
    stage.add()
    assert not visible(stage, stage.section.parts.overlay) and not visible(stage, stage.section.parts.gridLines)


def test_a_part_can_lie_over_the_original(stage: Stage) -> None:
    nodes, parts = add(stage), stage.section.parts
    assert visible(stage, parts.overlay)
    assert [parts.overlay.itemText(n) for n in range(parts.overlay.count)] == ["Change", "Bias field", "Added"]
    assert stage.shown(DIFFERENCE) == (nodes.inputs["T1"], nodes.perturbation["T1"])
    for part, group in (("bias", nodes.bias), ("added", nodes.added), ("perturbation", nodes.perturbation)):
        choose(parts.overlay, part)
        assert stage.shown(DIFFERENCE) == (nodes.inputs["T1"], group["T1"])
        assert group["T1"].GetNthDisplayNode(1).GetVisibility(), "the colour legend"
    choose(parts.overlay, "bias")
    stage.section.opacity.setValue(0.3)
    assert stage.composite(DIFFERENCE).GetForegroundOpacity() == pytest.approx(0.3)
    stage.add()
    assert stage.shown(DIFFERENCE)[1] is scenes.find_results(stage.scene)[-1].perturbation["T1"]


def test_grid_lines_are_shown_and_hidden_for_the_run_that_is_looked_at(stage: Stage) -> None:
    nodes, parts = add(stage), stage.section.parts
    display = nodes.displacement.GetDisplayNode()
    assert visible(stage, parts.gridLines) and not parts.gridLines.checked and not display.GetVisibility()
    parts.gridLines.checked = True
    assert display.GetVisibility() and display.GetVisibility2D()
    add(stage)
    assert not parts.gridLines.checked and not display.GetVisibility(), "another run's lines would lie over these"


def test_the_moved_reference_is_outlined_over_the_adversarial_image(stage: Stage) -> None:
    nodes = add(stage)
    reference, moved = nodes.reference.GetName(), nodes.moved_reference.GetName()
    assert stage.answers(ORIGINAL) == {nodes.clean.GetName(), reference}
    assert stage.answers(ADVERSARIAL) == {nodes.attacked.GetName(), moved}
    assert stage.answers(DIFFERENCE) == {reference}
    assert not nodes.moved_reference.GetDisplayNode().GetVisibility2DFill()
    stage.press("original")
    assert stage.answers("Red") == {nodes.clean.GetName(), reference}
    stage.press("adversarial")
    assert stage.answers("Red") == {nodes.attacked.GetName(), moved}
    plain = stage.add()
    stage.press("compare")
    assert stage.answers(ADVERSARIAL) == {plain.attacked.GetName(), reference}


def test_deleting_a_run_leaves_nothing_of_its_parts(stage: Stage) -> None:
    kept = stage.add()
    settle()
    before = sorted(stage.scene.GetNthNode(n).GetID() for n in range(stage.scene.GetNumberOfNodes()))
    nodes = add(stage)
    assert nodes.run != kept.run
    stage.section.confirm = lambda question: True
    stage.section.deleteButton.click()
    settle()
    after = sorted(stage.scene.GetNthNode(n).GetID() for n in range(stage.scene.GetNumberOfNodes()))
    assert after == before
