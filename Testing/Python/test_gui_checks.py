"""Audit and Certify through the panel and the console, with the real worker on a small subject."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gui_helpers import click, finish, messages, openModule, sceneState, waitUntil

from SegAdversarialLib import phantom

AUDIT = {"effort": "quick", "epsilons": [0.05], "steps": 1, "restarts": 1, "queries": 2, "directions": 1}


@pytest.fixture(scope="module")
def panel(slicerHost: Any) -> Iterator[Any]:
    import slicer
    from host import slicer_module

    from SegAdversarialLib import scene

    slicer_module.reset()
    panel = openModule()
    scene.add_case(phantom.subject(seed=7, shape=(32, 32, 32)), slicer.mrmlScene)
    waitUntil(slicerHost, lambda: panel.run.attackButton.enabled, "an attack could start")
    audit = {**AUDIT, "temperatures": ["auto"], "losses": ["soft_dice"]}
    panel.state.change(device="cpu", auditSettings=audit, certifySettings={"n": 80, "sigma": 0.02})
    yield panel
    slicer_module.reset()


def found(kind: str) -> Any:
    from SegAdversarialLib import scene

    return [x for x in scene.find_runs() if isinstance(x, getattr(scene, kind))]


def test_certified_by_clicks(slicerHost: Any, panel: Any) -> None:
    import slicer

    click(slicerHost, panel, panel.run.certifyButton)
    assert not messages(), messages()
    (nodes,) = found("CertificateNodes")
    waitUntil(slicerHost, lambda: panel.state.settings.run == nodes.run, "it was looked at")
    volume = panel.images.volumes()["T1"]
    share = slicer.util.arrayFromVolume(nodes.votes)
    assert share.shape == (32, 32, 32) and share.min() >= 0 and share.max() <= 1
    assert np.allclose(share * 80, np.round(share * 80), atol=1e-4), "votes of 80 draws"
    segmentation = nodes.segmentation.GetSegmentation()
    names = [segmentation.GetNthSegment(n).GetName() for n in range(segmentation.GetNumberOfSegments())]
    assert names == ["necrotic core", "oedema", "enhancing tumour", "abstained"]
    abstained = slicer.util.arrayFromSegmentBinaryLabelmap(nodes.segmentation, segmentation.GetNthSegmentID(3), volume)
    # a share of tau = 0.75 itself is never enough; all of 80 votes are
    assert np.all(abstained[share <= 0.75]) and not np.any(abstained[share == 1])
    assert panel.results.viewButtons["original"].checked and "certified Dice" in panel.results.summary.text
    panel.results.viewButtons["difference"].click()
    shown = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    assert shown.GetForegroundVolumeID() == nodes.votes.GetID()


def test_audited_by_clicks(slicerHost: Any, panel: Any) -> None:
    import slicer

    click(slicerHost, panel, panel.run.auditButton)
    assert not messages(), messages()
    nodes = found("FigureNodes")[-1]
    columns = [nodes.table.GetColumnName(n) for n in range(nodes.table.GetNumberOfColumns())]
    assert columns == ["check", "verdict", "number", "sentence"] and nodes.table.GetNumberOfRows() >= 10
    verdicts = {nodes.table.GetCellText(n, 1) for n in range(nodes.table.GetNumberOfRows())}
    assert verdicts <= {"pass", "warn", "not applicable"} and "pass" in verdicts
    epsilons = [nodes.numbers.GetTable().GetColumnByName("epsilon").GetValue(n) for n in range(3)]
    assert epsilons == [0, 0.05, 1]
    manager = slicer.app.layoutManager()

    def shown() -> bool:
        views = [manager.tableWidget(n).mrmlTableViewNode() for n in range(manager.tableViewCount)]
        return nodes.table.GetID() in [x.GetTableNodeID() for x in views]

    waitUntil(slicerHost, shown, "the table was on the screen")
    assert manager.layout == 5711 and panel.results.table.mrmlTableNode() is nodes.table
    assert not panel.results.viewButtons["original"].enabled and "figures" in panel.results.viewButtons["original"].toolTip
    assert "warn" in panel.results.summary.text or "pass" in panel.results.summary.text
    (certificate,) = found("CertificateNodes")
    panel.results.select(certificate.run)
    assert manager.layout != 5711, "the images are back"


def test_a_wrong_setting_is_told_on_its_button_alone(panel: Any) -> None:
    before = panel.state.settings
    panel.state.change(certifySettings={"alpha": 2})
    assert not panel.run.certifyButton.enabled and "alpha" in panel.run.certifyButton.toolTip
    assert panel.run.auditButton.enabled and panel.run.segmentButton.enabled
    panel.state.change(certifySettings=before.certifySettings)
    assert panel.run.certifyButton.enabled


def test_cancelling_changes_nothing(slicerHost: Any, panel: Any) -> None:
    certify = panel.state.settings.certifySettings
    for button, changes in (("auditButton", {"auditSettings": {}}), ("certifyButton", {"certifySettings": {"n": 100000}})):
        panel.state.change(**changes)
        before = sceneState()
        getattr(panel.run, button).click()
        waitUntil(slicerHost, lambda: panel.run.progressBar.value > 0, "it was on its way")
        panel.run.cancelButton.click()
        finish(slicerHost, panel)
        assert sceneState() == before and not messages()
    panel.state.change(certifySettings=certify)


def test_they_are_there_again_in_a_saved_scene(slicerHost: Any, panel: Any, tmp_path: Path) -> None:
    import slicer

    from SegAdversarialLib.scene import configuration_of, find_runs, write_scene

    runs = [x.run for x in find_runs()]
    path = write_scene(tmp_path / "saved.mrb")
    slicer.mrmlScene.Clear(0)
    slicer.util.loadScene(str(path))
    slicerHost.processEvents(0.2)
    assert [x.run for x in find_runs()] == runs and len(runs) == 2
    (certificate,), (audit,) = found("CertificateNodes"), found("FigureNodes")
    assert certificate.votes is not None and list(certificate.inputs) == ["T1", "T1ce", "T2", "FLAIR"]
    assert audit.chart is not None and len(audit.series) >= 4
    assert configuration_of(audit)["settings"]["effort"] == "quick" and configuration_of(certificate)["certificate"]["n"] == 80
    panel.results.confirm = lambda question: True
    for run in runs:
        panel.results.select(run)
        panel.results.deleteButton.click()
    assert not find_runs()


def test_from_the_console(slicerHost: Any, panel: Any, tmp_path: Path) -> None:
    from SegAdversarialLib.errors import InputError

    volumes, reference = panel.images.volumes(), panel.state.reference
    certificate = panel.logic.certify(volumes, reference=reference, sigma=0.02, n=70, n0=4, device="cpu")
    assert certificate.table.GetNumberOfRows() >= 3
    audit = panel.logic.audit(volumes, reference=reference, device="cpu", **AUDIT)
    assert audit.table.GetCellText(0, 1) == "pass"
    tiny = {"name": "UNet", "arguments": {"channels": [4, 8], "strides": [2]}}
    folder = tmp_path / "trained"
    trained = panel.logic.train(volumes, str(folder), {"recipe": "standard"}, tiny, reference, epochs=1, device="cpu")
    assert trained.network == str(folder) and trained.nodes.table.GetNumberOfRows() == 1
    answer = panel.logic.segment(volumes, trained.network, reference)
    assert answer.table.GetNumberOfRows() == 3
    with pytest.raises(InputError, match="no recipe"):
        panel.logic.train("phantom:2@32", str(folder), "no-such-thing", tiny, epochs=1)
    with pytest.raises(InputError, match="epoch"):
        panel.logic.train("phantom:2@32", str(folder), epochs=0)
