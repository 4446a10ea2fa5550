"""What once went wrong in a running Slicer, and the host allows as well."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gui_helpers import MODULE, _clean, messages, openModule, settle  # noqa: F401  (a fixture)
from results_helpers import Stage, _stage, made  # noqa: F401  (a fixture)

from SegAdversarialLib import scene as scenes
from SegAdversarialLib.scene.steps import background

DIFFERENCE = "SegAdversarialDifference"


def ownSegmentation(nodes: Any, name: str = "my reference") -> Any:
    """A segmentation of the user's own with the segments of the run's reference, filled."""
    import slicer

    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    own.CreateDefaultDisplayNodes()
    own.GetSegmentation().DeepCopy(nodes.reference.GetSegmentation())
    return own


# the user's own reference


def test_the_users_reference_gives_way_to_the_answers_and_comes_back(stage: Stage) -> None:
    nodes = stage.add()
    own = ownSegmentation(nodes)
    shown = own.GetDisplayNode()
    stage.state.reference = own
    stage.section.refresh()
    assert shown.GetVisibility(), "nothing has been shown since"
    second = stage.add()
    assert not shown.GetVisibility() and second.reference.GetDisplayNode().GetVisibility()
    other = ownSegmentation(nodes, "another")
    stage.state.reference = other
    stage.section.refresh()
    assert shown.GetVisibility() and not other.GetDisplayNode().GetVisibility()
    other.GetDisplayNode().SetVisibility(True)
    stage.section.iteration.setValue(2)
    assert other.GetDisplayNode().GetVisibility(), "the user wants to see it"
    stage.section.confirm = lambda question: True
    for _n in range(2):
        stage.section.deleteButton.click()
    assert shown.GetVisibility() and other.GetDisplayNode().GetVisibility()


def test_the_users_reference_is_back_in_the_users_layout(stage: Stage) -> None:
    nodes = stage.add()
    own = ownSegmentation(nodes)
    stage.state.reference = own
    stage.add()
    assert not own.GetDisplayNode().GetVisibility()
    stage.manager.setLayout(6)
    assert own.GetDisplayNode().GetVisibility()
    stage.manager.setLayout(stage.layout.COMPARE)
    assert not own.GetDisplayNode().GetVisibility()
    stage.section.leaveViews()
    assert own.GetDisplayNode().GetVisibility() and stage.manager.layout == 3


# where the views are


def test_a_volume_that_was_loaded_does_not_keep_the_views_from_the_finding(stage: Stage, tmp_path: Path) -> None:
    import slicer

    result, evaluation = made()
    files = result.original.write(tmp_path)
    loaded = {channel: slicer.util.loadVolume(str(files[channel])) for channel in ("T1", "T2")}
    nodes = scenes.add_result(result, evaluation, loaded, stage.scene)
    stage.section.select(nodes.run)
    settle()
    height = -40 + 4 * 13
    assert stage.view(DIFFERENCE).GetSliceOffset() == pytest.approx(height)
    rows = [{"structure": "tumour", "Volume (ml)": 20.5}]
    segmented = scenes.add_segmentation_result(result.original, evaluation.clean, rows, loaded, stage.scene, title="network")
    stage.section._findResults = lambda: scenes.find_runs(stage.scene)
    for tag in ("Red", "Green"):
        stage.view(tag).SetSliceOffset(-30)
    stage.section.select(segmented.run)
    settle()
    assert stage.view("Red").GetSliceOffset() == pytest.approx(height)


def test_compared_views_of_unequal_size_have_one_scale(stage: Stage) -> None:
    from host import slicer_module
    from host.gate import realOf

    stage.add()
    tags = ("SegAdversarialOriginal", "SegAdversarialAdversarial", DIFFERENCE)
    # the user has drawn the line between the upper and the lower views down
    rows = realOf(stage.manager.sliceWidget(DIFFERENCE)).parent().parent()
    rows.setSizes([500, 200])
    slicer_module.window().settle()
    stage.add()
    slicer_module.window().settle()
    views = [stage.view(x) for x in tags]
    assert views[0].GetDimensions()[1] > 1.5 * views[2].GetDimensions()[1]
    scales = [view.GetFieldOfView()[axis] / view.GetDimensions()[axis] for view in views for axis in (0, 1)]
    assert scales == pytest.approx([scales[0]] * 6)


# legends


def legendDrawn(tag: str) -> bool:
    from SegAdversarialGui.self_test import _drawsLegend

    return _drawsLegend(tag)


def test_the_legend_is_in_views_that_are_younger_than_it(stage: Stage, slicerHost: Any) -> None:
    from host import slicer_module

    for tag in stage.layout.SLICES:
        if stage.view(tag) is not None:
            stage.scene.RemoveNode(stage.view(tag))
    result, evaluation = made()
    nodes = scenes.add_result(result, evaluation, None, stage.scene)
    stage.section.select(nodes.run)
    slicerHost.processEvents(0.4)
    slicer_module.renderAll()
    assert legendDrawn(DIFFERENCE) and not legendDrawn("SegAdversarialOriginal")
    legend = nodes.perturbation["T1"].GetNthDisplayNode(1)
    length, bottom = legend.GetSize()[1], legend.GetPosition()[1]
    assert bottom * (1 - length) > 0.12, "Slicer's texts stand there"


def test_no_legend_of_an_earlier_run_stays(stage: Stage, slicerHost: Any) -> None:
    """Difference, then a certificate, then its Original: nobody is told what colours mean that are not there."""
    from host import slicer_module

    def drawn() -> bool:
        settle()
        slicerHost.processEvents(0.4)
        slicer_module.renderAll()
        return legendDrawn("Red")

    attacked = stage.add()
    stage.press("difference")
    assert drawn()
    result, evaluation = made()
    certain = np.zeros(evaluation.clean.shape, bool)
    share = np.full(evaluation.clean.shape, 0.9, np.float32)
    certified = scenes.add_certificate(result.original, evaluation.clean, certain, share, [], attacked.inputs, stage.scene)
    stage.section._findResults = lambda: scenes.find_runs(stage.scene)
    stage.section.select(certified.run)
    assert drawn(), "that of the votes"
    stage.press("original")
    assert not drawn()
    stage.section.select(attacked.run)
    stage.press("original")
    assert not drawn()
    stage.press("difference")
    assert drawn()


# what is there when the panel comes


def test_results_of_a_scene_that_was_loaded_before_the_panel_was_opened(clean: Any, slicerHost: Any, tmp_path: Path) -> None:
    import slicer

    panel = openModule()
    result, evaluation = made()
    nodes = scenes.add_result(result, evaluation, None, slicer.mrmlScene)
    panel.results.select(nodes.run)
    panel.state.change(opacity=0.2)
    slicerHost.processEvents(0.1)
    path = scenes.write_scene(tmp_path / "results.mrb")
    clean.reset()
    clean.loadModule(MODULE)
    slicer.util.loadScene(str(path))
    panel = clean.moduleWidget("SegAdversarial").panel
    assert panel.results.runs.count == 1 and panel.results.content.isVisibleTo(panel.results.widget)
    assert panel.state.settings.run == nodes.run and panel.state.settings.opacity == 0.2
    slicer.modules.SegAdversarialWidget.onReload()
    assert slicer.modules.SegAdversarialWidget.panel.results.runs.count == 1


def test_closing_a_scene_in_our_layout_leaves_it(clean: Any, slicerHost: Any) -> None:
    import slicer

    panel = openModule()
    manager = slicer.app.layoutManager()
    manager.setLayout(6)
    result, evaluation = made()
    panel.results.select(scenes.add_result(result, evaluation, None, slicer.mrmlScene).run)
    assert manager.layout == 5710
    slicer.mrmlScene.Clear(0)
    slicerHost.processEvents(0.1)
    assert manager.layout == 6
    case = scenes.add_case(result.original, slicer.mrmlScene)
    from SegAdversarialGui import display

    display.showSample(manager, case)
    red = manager.sliceWidget("Red").mrmlSliceCompositeNode()
    assert red.GetBackgroundVolumeID() == case.channels["T1"].GetID()


def test_two_panels_share_the_worker_until_the_last_goes(clean: Any, slicerHost: Any) -> None:
    import slicer

    panel = openModule()
    first = slicer.modules.SegAdversarialWidget
    widget = slicer.modules.segadversarial.createNewWidgetRepresentation()
    second = widget.self()
    panel.findDevices()
    worker = panel.logic.worker
    assert second.logic.worker is worker and worker.running
    second.cleanup()
    second.cleanup()
    assert worker.running
    widget.deleteLater()
    first.cleanup()
    assert not worker.running and not messages()


# what others change


def test_moving_the_browser_from_outside_moves_the_slider_and_the_views(stage: Stage) -> None:
    nodes = stage.add()
    nodes.browser.SetSelectedItemNumber(0)
    settle()
    assert stage.section.iteration.value == 1 and stage.section.iterationNote.text == "Iteration 0 of 10"
    assert stage.shown("SegAdversarialAdversarial")[0] is nodes.browser.GetProxyNode(nodes.sequences[0])
    nodes.browser.SelectLastItem()
    settle()
    assert stage.shown("SegAdversarialAdversarial")[0] is nodes.adversarial["T1"]
    stage.manager.setLayout(3)
    nodes.browser.SetSelectedItemNumber(1)
    settle()
    assert stage.section.iteration.value == 2 and stage.manager.layout == 3, "the user has left the comparison"


def test_the_slider_says_nothing_of_a_run_without_iterations(stage: Stage) -> None:
    attacked, (result, evaluation) = stage.add(), made()
    slider = stage.section.iteration
    assert slider.value == 3
    nodes = scenes.add_segmentation_result(
        result.original, evaluation.clean, [], attacked.inputs, stage.scene, title="network"
    )
    stage.section._findResults = lambda: [attacked, nodes]
    stage.section.select(nodes.run)
    settle()
    assert not slider.enabled and slider.value == slider.minimum
    stage.section.select(attacked.run)
    settle()
    assert slider.enabled and slider.value == 3


def test_no_timer_is_left_behind(stage: Stage, slicerHost: Any) -> None:
    import qt
    import slicer
    from SegAdversarialGui.runner import Listener, Runner
    from SegAdversarialGui.worker import Worker

    stage.add()
    before = len(slicer.app.findChildren(qt.QTimer))
    for _n in range(3):
        stage.add()
        slicerHost.processEvents(0.05)

    class Task:
        nodes = None
        title = "nothing"

        def prepare(self, folder: Path) -> Iterator[None]:
            yield

        def job(self, folder: Path) -> dict[str, Any]:
            return {"act": "done"}

        def deliver(self, folder: Path) -> Iterator[None]:
            yield

    fake = Path(__file__).with_name("fake_worker.py")
    worker = Worker(lambda: [sys.executable, str(fake)])
    outcome = Runner(worker).run(Task(), Listener())  # type: ignore[arg-type]
    identifier = worker.submit({"request": "job", "job": {"act": "wait"}}, lambda event: None)
    worker.cancel(identifier)
    worker.stop()
    slicerHost.processEvents(0.05)
    assert outcome.kind == "done" and len(slicer.app.findChildren(qt.QTimer)) == before


def test_a_cancelled_preparation_leaves_no_files(slicerHost: Any, tmp_path: Path) -> None:
    from SegAdversarialGui.runner import Listener, Runner
    from SegAdversarialGui.worker import Worker

    class Slow:
        nodes = None

        def cancelledSentence(self) -> str:
            return "Cancelled."

        def prepare(self, folder: Path) -> Iterator[None]:
            while True:
                (folder / "half").write_bytes(np.zeros(9).tobytes())
                yield

    ends: list[str] = []

    class Ends(Listener):
        def onEnd(self, outcome: Any) -> None:
            ends.append(outcome.kind)

    runner = Runner(Worker(), lambda: str(tmp_path))
    runner.start(Slow(), Ends())  # type: ignore[arg-type]
    slicerHost.processEvents(0.05)
    assert list(tmp_path.iterdir())
    runner.cancel()
    assert ends == ["cancelled"] and not runner.busy
    background().submit(int).result()  # which removes the files
    assert not list(tmp_path.iterdir())


def test_a_worker_that_cannot_start_says_what_was_tried(slicerHost: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    from SegAdversarialGui.worker import Worker, workerCommand

    monkeypatch.setattr(sys, "executable", "")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert workerCommand()[0].endswith("PythonSlicer")
    events: list[dict[str, Any]] = []
    Worker().submit({"request": "devices"}, events.append)
    slicerHost.processEvents(0.1)
    assert "PythonSlicer" in events[-1]["message"] and "()" not in events[-1]["message"]
    assert not slicerHost.qtWarnings, "a process that has never started has nothing to read"
