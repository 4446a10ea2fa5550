"""The whole way of a user through the panel, with the real worker and the built-in network."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gui_helpers import click, finish, messages, openModule, sceneState, waitUntil

ROLE = "SegAdversarial.Role"


@pytest.fixture(scope="module")
def panel(slicerHost: Any) -> Iterator[Any]:
    """The panel after: load sample, segment, FGSM."""
    import slicer
    from host import slicer_module

    panel = openModule()
    assert not panel.run.segmentButton.enabled and "T1ce" in panel.run.segmentButton.toolTip
    click(slicerHost, panel, panel.images.sampleButton)
    waitUntil(slicerHost, lambda: panel.run.attackButton.enabled, "an attack could start")
    background = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode().GetBackgroundVolumeID()
    assert background == panel.images.volumes()["T1"].GetID(), "the sample is on the screen"
    click(slicerHost, panel, panel.run.segmentButton)
    waitUntil(slicerHost, lambda: panel.results.viewButtons["original"].checked, "a segmentation has nothing to compare")
    click(slicerHost, panel, panel.run.attackButton)
    waitUntil(slicerHost, lambda: panel.results.viewButtons["compare"].checked, "the attack's images were compared")
    assert not messages(), messages()
    yield panel
    slicer_module.reset()


def latest() -> Any:
    from SegAdversarialLib.scene import find_results

    return find_results()[-1]


def hierarchyOf() -> Any:
    import slicer

    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)


def test_all_nodes_of_a_result_are_there(panel: Any) -> None:
    import slicer

    nodes = latest()
    assert nodes.summary == "FGSM, epsilon 0.05, all channels"
    volumes = panel.images.volumes()
    hierarchy = hierarchyOf()
    for channel, volume in volumes.items():
        for found in (nodes.adversarial[channel], nodes.perturbation[channel]):
            assert found is not volume and "FGSM, epsilon 0.05" in found.GetName() and channel in found.GetName()
            ours, theirs = (slicer.util.arrayFromVTKMatrix(x) for x in _matrices(found, volume))
            assert np.array_equal(ours, theirs)
            assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(found)) == nodes.folder
        before, after = (slicer.util.arrayFromVolume(x) for x in (volume, nodes.adversarial[channel]))
        added = slicer.util.arrayFromVolume(nodes.perturbation[channel])
        np.testing.assert_allclose(before + added, after, atol=1e-3)
        assert 0 < np.abs(added).max() <= 0.05 * np.abs(before).max() * (1 + 1e-5)
        display, model = nodes.adversarial[channel].GetDisplayNode(), volume.GetDisplayNode()
        assert (display.GetWindow(), display.GetLevel()) == (model.GetWindow(), model.GetLevel())
    input_item = hierarchy.GetItemByDataNode(volumes["T1"])
    assert hierarchy.GetItemParent(nodes.folder) == hierarchy.GetItemParent(input_item)
    for segmentation in (nodes.clean, nodes.attacked, nodes.reference):
        ids = segmentation.GetSegmentation().GetSegmentIDs()
        assert list(ids) == ["Segment_1", "Segment_2", "Segment_4"]
        for identifier in ids:
            mine, same = (x.GetSegmentation().GetSegment(identifier) for x in (segmentation, nodes.clean))
            assert mine.GetColor() == same.GetColor() and mine.GetName() == same.GetName()
            assert "SCT" in _tag(mine)
    assert nodes.chart is not None and nodes.series and nodes.configuration is not None


def _matrices(*volumes: Any) -> list[Any]:
    import vtk

    found = []
    for volume in volumes:
        found.append(vtk.vtkMatrix4x4())
        volume.GetIJKToRASMatrix(found[-1])
    return found


def _tag(segment: Any) -> str:
    import vtk

    value = vtk.reference("")
    segment.GetTag(segment.GetTerminologyEntryTagName(), value)
    return str(value)


def test_the_table_says_what_the_library_measures(panel: Any, tmp_path: Path) -> None:
    """The same volumes, written to files and measured by the library in this process, give the same figures."""
    from SegAdversarialLib import Case, open_model, scene
    from SegAdversarialLib.evaluation.measuring import evaluate_pair
    from SegAdversarialLib.scene.tables import as_text

    nodes, volumes = latest(), panel.images.volumes()
    before = scene.case_of_nodes(volumes, reference=panel.state.reference)
    after = scene.case_of_nodes(nodes.adversarial, reference=panel.state.reference)
    read = []
    for name, case in (("before", before), ("after", after)):
        files = case.write(tmp_path / name)
        label = files.pop("label")
        read.append(Case.read(files, label))
    expected = evaluate_pair(*read, open_model("builtin:brain-tumour-phantom")).rows
    table = nodes.metrics.GetTable()
    assert table.GetNumberOfRows() == len(expected) > 20
    columns = {table.GetColumnName(n): table.GetColumn(n) for n in range(table.GetNumberOfColumns())}
    for n, row in enumerate(expected):
        for key, value in row.items():
            if key == "drop" and row["metric"] in ("HD95", "Volume"):
                value = None  # there is no such thing
            assert columns[key].GetValue(n) == as_text(value), f"row {n}, {key}"


def test_the_segmentation_is_the_networks(panel: Any) -> None:
    import slicer

    from SegAdversarialLib import open_model, scene

    nodes = slicer.mrmlScene.GetNodesByClass("vtkMRMLSegmentationNode")
    (node,) = (x for x in nodes if x.GetAttribute(ROLE) == "segmentation")
    volumes = panel.images.volumes()
    expected = open_model("builtin:brain-tumour-phantom").segment(scene.case_of_nodes(volumes))
    for value in (1, 2, 4):
        found = slicer.util.arrayFromSegmentBinaryLabelmap(node, f"Segment_{value}", volumes["T1"])
        assert np.array_equal(found != 0, expected == value)


def test_an_attack_with_iterations_region_and_channels(slicerHost: Any, panel: Any) -> None:
    import slicer

    from SegAdversarialLib import scene

    oedema = next(
        x
        for x in panel.state.reference.GetSegmentation().GetSegmentIDs()
        if panel.state.reference.GetSegmentation().GetSegment(x).GetName() == "oedema"
    )
    panel.state.region = panel.state.reference
    panel.state.change(attack="ifgsm", region="node", regionSegment=oedema)
    panel.state.changeAttack("ifgsm", {"channels": ["FLAIR"], "snapshot_every": 2, "steps": 4, "against": "prediction"})
    click(slicerHost, panel, panel.run.attackButton)
    assert not messages(), messages()
    nodes = latest()
    assert "i-FGSM" in nodes.summary and "FLAIR" in nodes.summary and "oedema" in nodes.summary
    assert list(nodes.adversarial) == ["FLAIR"]
    mask = scene.mask_of_node(panel.state.reference, panel.images.volumes()["FLAIR"], segment=oedema)
    added = slicer.util.arrayFromVolume(nodes.perturbation["FLAIR"])
    assert np.any(added[mask]) and not np.any(added[~mask])
    assert nodes.browser.GetNumberOfItems() == 3
    assert panel.results.iteration.enabled
    configuration = scene.configuration_of(nodes)
    assert configuration["attack"]["steps"] == 4 and configuration["attack"]["region"] == "oedema"
    panel.state.change(region="", regionSegment="", attack="fgsm")


def test_cancelling_changes_nothing(slicerHost: Any, panel: Any) -> None:
    panel.state.change(attack="pgd")
    panel.state.changeAttack("pgd", {"steps": 2000})
    before = sceneState()
    panel.run.attackButton.click()
    waitUntil(slicerHost, lambda: panel.run.progressBar.value > 0, "the attack was on its way")
    assert panel.run.cancelButton.enabled and not panel.run.attackButton.enabled
    worker = panel.logic.worker.processId
    panel.run.cancelButton.click()
    finish(slicerHost, panel)
    assert sceneState() == before and not messages()
    assert panel.logic.worker.processId in (0, worker)
    _attackAgain(slicerHost, panel)


def test_a_killed_worker_changes_nothing(slicerHost: Any, panel: Any) -> None:
    panel.state.change(attack="pgd")
    panel.state.changeAttack("pgd", {"steps": 2000})
    before = sceneState()
    panel.run.attackButton.click()
    waitUntil(slicerHost, lambda: panel.run.progressBar.value > 0, "the attack was on its way")
    process = panel.logic.worker.processId
    os.kill(process, signal.SIGKILL)
    finish(slicerHost, panel)
    assert sceneState() == before
    (message,) = messages()
    assert message.kind == "error" and "memory" in message.text
    messages().clear()
    waitUntil(slicerHost, lambda: not Path(f"/proc/{process}").exists(), "the process was gone")
    _attackAgain(slicerHost, panel)


def _attackAgain(host: Any, panel: Any) -> None:
    from SegAdversarialLib.scene import find_results

    count = len(find_results())
    panel.state.change(attack="uniform-noise")
    click(host, panel, panel.run.attackButton)
    assert len(find_results()) == count + 1 and not messages(), messages()


def test_the_window_answers_while_a_job_runs(slicerHost: Any, panel: Any) -> None:
    """Between two turns of the event loop this thread never computes for 100 ms while the worker works."""
    import qt

    panel.state.change(attack="pgd")
    panel.state.changeAttack("pgd", {"steps": 10})
    longest, last = 0.0, time.thread_time()

    def tick() -> None:
        nonlocal longest, last
        now = time.thread_time()
        if 0 < panel.run.progressBar.value < 1000:
            longest = max(longest, now - last)
        last = now

    timer = qt.QTimer()
    timer.connect("timeout()", tick)
    timer.start(5)
    click(slicerHost, panel, panel.run.attackButton)
    timer.stop()
    print(f"longest turn of the event loop while the job ran: {1000 * longest:.0f} ms of this thread's time")
    assert 0 < longest < 0.1


def test_a_saved_scene_brings_everything_back(slicerHost: Any, panel: Any, tmp_path: Path) -> None:
    import slicer

    from SegAdversarialLib.scene import find_results, write_scene

    panel.state.change(attack="pgd", opacity=0.3, view="difference")
    panel.state.changeAttack("pgd", {"steps": 7, "epsilon": 0.0125})
    first = find_results()[0]
    panel.results.select(first.run)
    runs = [x.summary for x in find_results()]
    names = {channel: x.GetName() for channel, x in panel.images.volumes().items()}
    path = write_scene(tmp_path / "saved.mrb")
    slicer.mrmlScene.Clear(0)
    slicerHost.processEvents(0.1)
    assert not find_results() and not panel.run.attackButton.enabled
    slicer.util.loadScene(str(path))
    slicerHost.processEvents(0.2)
    assert [x.summary for x in find_results()] == runs
    assert {channel: x.GetName() for channel, x in panel.images.volumes().items()} == names
    settings = panel.state.settings
    assert (settings.attack, settings.opacity, settings.view, settings.run) == ("pgd", 0.3, "difference", first.run)
    assert panel.state.attackSettings("pgd") == {"steps": 7, "epsilon": 0.0125}
    assert panel.attack.methodSelector.currentText == "PGD" and panel.run.attackButton.enabled
    assert panel.results.runs.currentText.endswith(first.summary)
    click(slicerHost, panel, panel.run.attackButton)
    assert len(find_results()) == len(runs) + 1
