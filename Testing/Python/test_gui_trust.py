"""The panel and programs from strangers: what it asks about and remembers, what jobs are told, how that is taken back."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import tiny_network
from fault_helpers import assert_sentence
from gui_helpers import click, messages, openModule, settle
from hostile_helpers import NETWORKS, Canary
from test_gui_network import Stage, _program, _stage  # noqa: F401  (fixtures)

from SegAdversarialLib import InputError
from SegAdversarialLib import scene as scenes


def test_trust_is_asked_once_for_each_content(stage: Stage, program: Path) -> None:
    stage.open(program)
    before = stage.state.node.GetParameter("Settings")
    sums = [hashlib.sha256(program.read_bytes()).hexdigest()]
    assert stage.section.needsTrust() and not stage.section.trusted() and not stage.section.source()["trust"]
    stage.answer = False
    assert not stage.section.ensureTrust() and not stage.section.trusted()
    assert stage.state.node.GetParameter("Settings") == before
    stage.answer = True
    assert stage.section.ensureTrust() and stage.section.trusted() and stage.section.source()["trust"] == sums
    assert stage.section.ensureTrust() and len(stage.asked) == 2
    asked = stage.asked[0]
    assert (asked.path, asked.name, asked.programs, list(asked.sums)) == (str(program), "toy", (str(program),), sums)
    assert asked.what == "a TorchScript file" and asked.runs == ("the program in it (TorchScript)",)
    assert asked.scan.startswith("picklescan ")
    stage.choose("Brain tumour phantom (built-in)")
    stage.open(program)
    assert stage.section.trusted()
    assert stage.state.node.GetParameter("Settings") == before and set(stage.state.node.GetParameterNames()) == {"Settings"}
    os.utime(program, ns=(1, 1))  # the content is the same, and so it is in the folder, and beside other files
    stage.open(program.parent)
    (program.parent / "more.txt").write_text("x")
    assert stage.section.ensureTrust() and stage.section.source()["trust"] == sums and len(stage.asked) == 2
    state = program.stat()
    torch.jit.script(tiny_network(seed=1)).save(str(program))
    os.utime(program, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert program.stat().st_size == state.st_size  # place, size and time are as before
    assert not stage.section.trusted() and stage.section.source()["trust"] is False
    assert stage.section.ensureTrust() and len(stage.asked) == 3 and stage.asked[2].sums != asked.sums


def test_what_is_remembered_is_not_asked_about_until_it_changes(stage: Stage, program: Path) -> None:
    from SegAdversarialGui import trust

    from SegAdversarialLib.formats import trust as store

    stage.open(program)
    assert not stage.shown("trustedFilesButton")
    stage.answer = trust.ALWAYS
    assert stage.section.ensureTrust() and [x.name for x in store.decisions()] == ["toy.ts"]
    assert store.decisions()[0].scan.startswith("picklescan ")
    trust.forgetAll()  # as after a new start of Slicer; the worker knows what is remembered without being told
    assert stage.section.trusted() and stage.section.ensureTrust() and stage.section.source()["trust"] is False
    moved = program.with_name("moved.ts")
    program.rename(moved)
    program.with_suffix(".json").rename(moved.with_suffix(".json"))
    stage.open(moved)
    assert stage.section.ensureTrust() and len(stage.asked) == 1
    torch.jit.script(tiny_network(seed=1)).save(str(moved))
    stage.answer = trust.NO
    assert not stage.section.ensureTrust() and len(stage.asked) == 2


def test_trusted_files_are_listed_and_forgotten(stage: Stage, program: Path) -> None:
    import qt
    from SegAdversarialGui import trust

    from SegAdversarialLib.formats import trust as store

    forgotten: list[str] = []
    stage.section.onForgotten = forgotten.extend
    store.remember(program, "ab" * 32, "a scanner's word")
    stage.open(program)
    assert stage.section.ensureTrust() and stage.shown("trustedFilesButton")
    stage.find("trustedFilesButton").click()
    window = stage.section.trustedWindow
    rows = [[window.table.item(n, k).text() for k in range(4)] for n in range(window.table.rowCount)]
    assert rows[0][:2] == ["toy.ts", "abababababababab..."] and rows[0][3] == "a scanner's word"
    assert rows[1][0] == "toy.ts" and rows[1][2] == "until Slicer closes" and len(rows) == 2
    assert not window.forgetButton.enabled
    window.table.selectRow(1)
    window.forgetButton.click()
    assert forgotten == [store.digest(program)] and not stage.section.trusted() and window.table.rowCount == 1
    window.table.selectAll()
    window.forgetButton.click()
    assert store.decisions() == [] and trust.trustedFiles() == [] and not stage.shown("trustedFilesButton")
    assert all(x.toolTip for x in window.dialog.findChildren(qt.QPushButton))
    window.closeButton.click()
    assert window.dialog is None


def test_the_question_names_the_file_and_offers_no_first(slicerHost: Any, monkeypatch) -> None:
    import qt
    from SegAdversarialGui import trust

    seen = {}
    answers = iter(["remember", True, False, None])

    def answer() -> None:
        box = qt.QApplication.activeModalWidget()
        seen["text"], seen["default"] = box.text, box.defaultButton().text.replace("&", "")
        seen["remembers"] = box.checkBox().checked
        yes = next(answers)
        box.checkBox().setChecked(yes == "remember")
        if yes is None:
            box.reject()
        else:
            box.button(qt.QMessageBox.Yes if yes else qt.QMessageBox.No).click()

    path = "/data/<b>toy</b>.ts"
    runs, scan = ("the program in it (TorchScript)",), "picklescan 1.0 calls it dangerous (os.system)"
    network = trust.NetworkFile("toy", path, "a TorchScript file", runs, (path,), ("3f0a" * 16,), scan)
    for expected in (trust.ALWAYS, trust.ONCE, trust.NO, trust.NO):
        qt.QTimer.singleShot(0, answer)
        assert trust.askTrust(network) == expected
    for said in (path, "This is a TorchScript file", *runs, scan, "SHA-256 of b>.ts: 3f0a3f0a3f0a3f0a..."):
        assert said in seen["text"].replace("\u200b", ""), said
    assert seen["default"] == "No" and seen["remembers"] is False
    monkeypatch.setattr(trust.slicer, "app", SimpleNamespace(testingEnabled=lambda: True))
    assert trust.askTrust(network) == trust.NO


def test_choices_come_back_from_a_scene_file_and_trust_does_not_come_with_them(
    stage: Stage, program: Path, tmp_path: Path
) -> None:
    from SegAdversarialGui import trust
    from SegAdversarialGui.state import State

    stage.open(program)
    stage.find("networkSettingsLine").currentPath = str(program.with_suffix(".json"))
    stage.find("deviceCombo").setCurrentIndex(1)
    assert stage.section.ensureTrust()
    path = scenes.write_scene(tmp_path / "all.mrb", stage.scene)
    stage.section.setState(None)
    stage.scene.Clear(0)
    trust.forgetAll()
    assert stage.scene.ReadFromMRB(str(path))
    stage.section.setState(State(stage.scene.GetFirstNodeByClass("vtkMRMLScriptedModuleNode")))
    assert stage.find("networkFileLine").currentPath == str(program)
    assert stage.section.source() == {
        "path": str(program),
        "trust": False,
        "device": "cpu",
        "settings": str(program.with_suffix(".json")),
    }


@pytest.mark.parametrize(("recipe", "setting"), [("defensive-distillation", "teacher"), ("attack-augmentation", "network")])
def test_the_network_that_a_recipe_asks_is_asked_about(
    recipe: str, setting: str, stage: Stage, program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from SegAdversarialGui import trust
    from SegAdversarialGui.defend_section import DefendSection

    asked: list[Any] = []
    answers = iter([trust.NO, trust.ONCE])
    monkeypatch.setattr(trust, "askTrust", lambda network: asked.append(network) or next(answers))
    section = DefendSection(lambda: None, lambda folder: None)
    stage.state.change(recipe=recipe, trainFolder=str(tmp_path / "trained"), trainFrom="synthetic")
    section.setState(stage.state)
    assert section.ensureTrust() and not asked and "trust" not in section.recipeForm.editors
    stage.state.changeRecipe(recipe, {setting: str(program), "trust": True})
    assert not section.ensureTrust() and "trust" not in section.training().recipe
    assert section.ensureTrust() and section.ensureTrust() and [x.path for x in asked] == [str(program)] * 2
    sums = [hashlib.sha256(program.read_bytes()).hexdigest()]
    assert section.training().recipe == {"recipe": recipe, setting: str(program), "trust": sums}
    assert "trust" not in stage.state.node.GetParameter("Settings")
    section.setState(None)


@pytest.fixture
def module(slicerHost: Any, tmp_path: Path) -> Iterator[Any]:
    """The panel with the sample subject; the user's answer to each question stands in its `answers`."""
    from host import slicer_module
    from SegAdversarialGui import trust

    slicer_module.reset()
    panel = openModule()
    click(slicerHost, panel, panel.images.sampleButton)
    yield panel
    trust.forgetAll()
    messages().clear()
    slicer_module.reset()


@pytest.mark.slow
def test_hostile_files_in_the_panel(slicerHost: Any, module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chosen and looked at in the panel, then given to the real worker: the canary never sings, all is a sentence."""
    asked: list[str] = []
    monkeypatch.setattr(module.network, "_askTrust", lambda network: asked.append(network.path))
    canary = Canary(tmp_path / "canary")
    volume = next(iter(module.images.volumes().values()))
    for number, (name, kind) in enumerate(NETWORKS.items()):
        folder = tmp_path / f"files{number}"
        folder.mkdir()
        path = kind.make(folder, canary)
        module.state.change(network=str(path))
        settle()
        if module.network.needsTrust():
            assert not module.network.ensureTrust() and asked[-1] == str(path), name
        if kind.why:
            with pytest.raises(InputError) as refused:
                module.logic.segment([volume], model=str(path), device="cpu")
            assert_sentence(str(refused.value))
            assert re.search(kind.why, str(refused.value), re.DOTALL), (name, refused.value)
        else:
            assert module.logic.segment([volume], model=str(path), device="cpu").segmentation, name
        assert not canary.path.exists() and not messages(), name
    assert len(asked) == sum(not kind.even_trusted or "TorchScript" in name for name, kind in NETWORKS.items())


@pytest.mark.slow
def test_the_whole_way(slicerHost: Any, module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is exchanged while the user is asked is refused; a trusted one runs in a process of its own, and is let go
    once it is forgotten."""
    from SegAdversarialGui import trust

    path, worker = tmp_path / "net.ts", module.logic.worker

    def made(seed: int) -> None:
        torch.jit.script(tiny_network(4, 4, seed=seed).float()).save(str(path))

    made(0)
    classes = {"0": "background", "1": "necrotic core", "2": "oedema", "4": "enhancing tumour"}
    settings = {"channels": ["T1", "T1ce", "T2", "FLAIR"], "classes": classes}
    path.with_suffix(".json").write_text(json.dumps(settings))
    click(slicerHost, module, module.run.segmentButton)
    plain = worker.processId

    def exchanging(network: Any) -> str:
        made(1)
        return trust.ONCE

    monkeypatch.setattr(module.network, "_askTrust", exchanging)
    module.state.change(network=str(path))
    settle()
    click(slicerHost, module, module.run.segmentButton)
    assert "if you trust its source" in messages()[-1].text
    messages().clear()
    monkeypatch.setattr(module.network, "_askTrust", lambda network: trust.ONCE)
    click(slicerHost, module, module.run.segmentButton)
    assert not messages() and "the worker starts anew" in module.run.log.toPlainText()
    own = worker.processId
    assert own not in (plain, 0)
    click(slicerHost, module, module.run.segmentButton)
    assert worker.processId == own
    module.network.trustedButton.click()
    window = module.network.trustedWindow
    window.table.selectAll()
    window.forgetButton.click()
    assert not worker.running and not module.network.trusted()
    window.closeButton.click()
    monkeypatch.setattr(module.network, "_askTrust", lambda network: trust.NO)
    before = module.run.log.toPlainText()
    click(slicerHost, module, module.run.segmentButton)
    assert module.run.log.toPlainText() == before and not worker.running
