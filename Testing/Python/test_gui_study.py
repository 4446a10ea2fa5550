"""The panel's Study section, with the real worker: a study fills its table, its report opens, its cases load."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gui_helpers
import pytest
import torch
from conftest import tiny_network
from gui_helpers import click, finish, messages, openModule, waitUntil

STUDY = """
study: tiny
description: One attack on two subjects.
cohort: {cohort: "phantom:1-2@32", cases: 2}
networks: {unet: builtin:brain-tumour-phantom}
attacks: [{attack: uniform-noise, epsilon: [0.05, 0.1], name: Noise}]
audit: false
"""


@pytest.fixture(scope="module")
def panel(slicerHost: Any) -> Iterator[Any]:
    """The panel with its Study section open."""
    from host import slicer_module

    slicer_module.reset()
    monkeypatch = pytest.MonkeyPatch()
    # a study's own workers have to start, which takes long on a busy machine
    monkeypatch.setattr(gui_helpers, "PATIENCE", 400)
    panel = openModule()
    panel.study.widget.collapsed = False
    slicerHost.processEvents(0.1)
    yield panel
    monkeypatch.undo()
    slicer_module.reset()


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("studies") / "tiny.yaml"
    path.write_text(STUDY, encoding="utf-8")
    return path


def cells(panel: Any, column: int) -> list[str]:
    table = panel.study.table
    return [table.item(n, column).text() for n in range(table.rowCount)]


def test_nothing_can_be_run_before_a_file_is_chosen(panel: Any) -> None:
    panel.state.change(studyFile="")
    assert not panel.study.runButton.enabled and "Choose a study file" in panel.study.runButton.toolTip
    assert not panel.study.reportButton.enabled and not panel.study.loadButton.enabled


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("study: x\nnetworks: {a: b}\nnetwork: c\n", "network"),
        ("study: [", "line"),
        (None, "nowhere.yaml"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(panel: Any, tmp_path: Path, text: str | None, sentence: str) -> None:
    path = tmp_path / ("nowhere.yaml" if text is None else "wrong.yaml")
    if text is not None:
        path.write_text(text, encoding="utf-8")
    panel.study.fileLine.currentPath = str(path)
    assert panel.state.settings.studyFile == str(path)
    assert not panel.study.runButton.enabled
    assert sentence in panel.study.problemNote.text and "Traceback" not in panel.study.problemNote.text
    assert len(panel.study.problemNote.text.splitlines()) == 1


def test_a_file_that_is_edited_meanwhile_is_read_again(slicerHost: Any, panel: Any, tmp_path: Path) -> None:
    """By the button, and when the user comes back to Slicer's window."""
    import qt
    import slicer

    path = tmp_path / "edited.yaml"
    path.write_text(STUDY, encoding="utf-8")
    panel.study.fileLine.currentPath = str(path)
    assert panel.study.runButton.enabled, panel.study.runButton.toolTip
    path.write_text("study: [", encoding="utf-8")
    panel.study.runButton.click()
    assert not slicerHost.slotErrors and not panel.logic.runner.busy and not messages()
    assert not panel.study.runButton.enabled and "line" in panel.study.problemNote.text
    path.write_text(STUDY + "\n", encoding="utf-8")
    slicer.app.applicationStateChanged.emit(qt.Qt.ApplicationInactive)
    assert not panel.study.runButton.enabled
    slicer.app.applicationStateChanged.emit(qt.Qt.ApplicationActive)
    assert panel.study.runButton.enabled and not panel.study.problemNote.text


def test_run_watched_reported_and_loaded(slicerHost: Any, panel: Any, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import slicer
    from SegAdversarialGui import work

    panel.study.fileLine.currentPath = str(file)
    assert panel.study.note.text.startswith("tiny, on phantom:1-2@32; networks: 1, attacks: 1")
    click(slicerHost, panel, panel.study.runButton)
    assert not messages(), messages()
    assert "4 of 4 jobs are done" in panel.run.message.text
    assert sorted(cells(panel, 0)) == 2 * ["Noise, epsilon 0.05"] + 2 * ["Noise, epsilon 0.1"]
    before, after = ([float(x) for x in cells(panel, column)] for column in (1, 2))
    assert all(0 <= y <= x <= 1 for x, y in zip(before, after))
    panel.study.table.sortItems(2)
    assert [float(x) for x in cells(panel, 2)] == sorted(after)
    report = file.parent / "tiny" / "report.html"
    opened: list[str] = []
    monkeypatch.setattr(work.qt.QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()) or True)
    panel.study.reportButton.click()
    assert report.is_file() and opened == [str(report)]
    count = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    panel.study.table.selectRow(0)
    assert panel.study.loadButton.enabled
    panel.study.loadButton.click()
    finish(slicerHost, panel)
    assert not messages(), messages()
    added = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") - count
    assert added >= 4 and slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") >= 1


def test_run_again_the_rows_are_there_at_once(slicerHost: Any, panel: Any, file: Path) -> None:
    panel.study.fileLine.currentPath = str(file)
    click(slicerHost, panel, panel.study.runButton)
    assert not messages() and panel.study.table.rowCount == 4


def test_cancelling_keeps_what_was_finished(slicerHost: Any, panel: Any, file: Path, tmp_path: Path) -> None:
    longer = tmp_path / "longer.yaml"
    text = STUDY.replace("study: tiny", "study: longer")
    longer.write_text(text.replace("phantom:1-2@32", "phantom:1-40@32").replace("cases: 2", "cases: 40"), encoding="utf-8")
    panel.study.fileLine.currentPath = str(longer)
    panel.study.runButton.click()
    waitUntil(slicerHost, lambda: panel.study.table.rowCount > 1 or not panel.logic.runner.busy, "rows came in")
    assert panel.logic.runner.busy and "running" in panel.study.runButton.toolTip
    panel.run.cancelButton.click()
    finish(slicerHost, panel)
    assert not messages() and "goes on from there" in panel.run.message.text
    assert 0 < panel.study.table.rowCount < 80


def test_trust_that_a_file_claims_is_asked_for(panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from SegAdversarialGui import trust

    asked: list[str] = []

    def no(network: Any) -> bool:
        asked.append(network.path)
        return False

    monkeypatch.setattr(trust, "askTrust", no)
    net = tmp_path / "net.ts"
    torch.jit.script(tiny_network(4, 4).float()).save(str(net))
    settings = {"channels": ["T1", "T1ce", "T2", "FLAIR"], "classes": ["background", "necrosis", "oedema", "enhancing"]}
    net.with_suffix(".json").write_text(json.dumps(settings))
    path = tmp_path / "stranger.yaml"
    for said in ("true", "false"):
        path.write_text(STUDY.replace("builtin:brain-tumour-phantom", f"{{path: '{net}', trust: {said}}}"))
        panel.study.fileLine.currentPath = str(path)
        assert panel.study.runButton.enabled, panel.study.runButton.toolTip
        panel.study.runButton.click()
        assert asked.pop() == str(net) and not asked
        assert not panel.logic.runner.busy and not (tmp_path / "stranger").exists()
    assert not messages()
    monkeypatch.setattr(trust, "askTrust", lambda network: trust.ONCE)
    assert panel.study.ensureTrust() and panel.study.granted() == [hashlib.sha256(net.read_bytes()).hexdigest()]
    trust.forgetAll()


def test_what_was_answered_of_a_transfers_source_holds(
    slicerHost: Any, panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that only an attack names is asked about, and opened then, whatever the file says of it; in a process of its
    own, not in the panel's."""
    from SegAdversarialGui import trust

    asked: list[str] = []

    def once(network: Any) -> str:
        asked.append(network.path)
        return trust.ONCE

    monkeypatch.setattr(trust, "askTrust", once)
    net = tmp_path / "source.ts"
    torch.jit.script(tiny_network(4, 4).float()).save(str(net))
    settings = {"channels": ["T1", "T1ce", "T2", "FLAIR"], "classes": ["background", "necrosis", "oedema", "enhancing"]}
    net.with_suffix(".json").write_text(json.dumps(settings))
    path = tmp_path / "transfer.yaml"
    attack = f"{{attack: transfer, method: fgsm, source: '{net}', name: Transfer}}"
    path.write_text(
        "study: transfer\ncohort: phantom:1@32\nnetworks: {unet: builtin:brain-tumour-phantom}\n"
        f"attacks: [{attack}]\naudit: false\n"
    )
    panel.study.fileLine.currentPath = str(path)
    worker = panel.logic.worker.processId
    click(slicerHost, panel, panel.study.runButton)
    assert not messages(), messages()
    assert asked == [str(net)] and cells(panel, 2) != ["failed"] and panel.study.table.rowCount == 1
    assert panel.logic.worker.processId == worker
    trust.forgetAll()
