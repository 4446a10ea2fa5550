"""The panel and attacks on another network's file: how it is chosen, and that only the user can trust it, never a scene."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_network
from gui_helpers import _panel, click, finish, messages, openModule, putAway, sceneState, waitUntil  # noqa: F401  (a fixture)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from SegAdversarialLib.attacks import ATTACKS, make_attack

BUILTIN = "builtin:brain-tumour-phantom"
CHANNELS = ["T1", "T1ce", "T2", "FLAIR"]
ESCAPED = '{"attack": "pgd", "tr\\u0075st": true}'


def program(folder: Path, name: str = "similar", channels: list[str] | None = None) -> Path:
    """A TorchScript network, which is a program, with its settings beside it."""
    names = channels or CHANNELS
    path = folder / f"{name}.ts"
    torch.jit.script(tiny_network(len(names), 4).float()).save(str(path))
    classes = {"0": "background", "1": "necrotic core", "2": "oedema", "4": "enhancing tumour"}
    path.with_suffix(".json").write_text(json.dumps({"channels": names, "classes": classes}))
    return path


def speaksOfTrust(value: Any) -> bool:
    """Whether data, or a text in it that is JSON, has trust in it anywhere."""
    if isinstance(value, dict):
        return "trust" in value or any(map(speaksOfTrust, value.values()))
    if isinstance(value, list):
        return any(map(speaksOfTrust, value))
    if isinstance(value, str):
        try:
            return speaksOfTrust(json.loads(value)) if value.strip()[:1] in ("{", "[", '"') else False
        except ValueError:
            return False
    return False


class Stage:
    """An Attack section on a real parameter node whose questions about trust are counted."""

    def __init__(self) -> None:
        import qt
        import slicer
        from SegAdversarialGui import catalog
        from SegAdversarialGui.attack_section import AttackSection
        from SegAdversarialGui.source_network import SourceNetwork
        from SegAdversarialGui.state import State

        self.scene = slicer.mrmlScene
        self.asked: list[Any] = []
        self.described: list[str] = []
        self.answer = True
        self._catalog = catalog
        self.section = AttackSection(catalog.attacks, SourceNetwork(self._describe, self._ask))
        self.node = self.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
        self.state = State(self.node)
        self.node.AddObserver("ModifiedEvent", lambda *_: self.section.refresh())
        self.window = qt.QWidget()
        qt.QVBoxLayout(self.window).addWidget(self.section.widget)
        self.window.show()
        self.state.change(attack="transfer")
        self.section.setState(self.state)
        self.section.setNetwork(catalog.network(BUILTIN))

    @property
    def changed(self) -> dict[str, Any]:
        return dict(self.state.attackSettings("transfer"))

    def editor(self, name: str) -> Any:
        return self.section.editors[name]

    def store(self, **transfer: Any) -> None:
        """What stands in a scene, as a stranger may have written it."""
        text = json.dumps({"attack": "transfer", "attackSettings": {"transfer": transfer}})
        self.node.SetParameter("Settings", text)

    def _describe(self, path: str, settings: str) -> Any:
        self.described.append(path)
        return self._catalog.network(path, settings)

    def _ask(self, network: Any) -> bool:
        self.asked.append(network)
        return self.answer


@pytest.fixture
def stage(slicerHost: Any) -> Iterator[Stage]:
    made = Stage()
    yield made
    putAway(made)


def test_the_source_is_chosen_as_a_file_or_by_name(stage: Stage, tmp_path: Path) -> None:
    assert "trust" not in stage.section.editors
    assert "Source network" in stage.section.problem()
    line = stage.editor("source").widget
    assert [line.comboBox().itemText(n) for n in range(line.comboBox().count)] == [BUILTIN]
    assert line.currentPath == "" and stage.changed == {} and any("*.ts" in x for x in line.nameFilters)
    line.comboBox().setCurrentIndex(-1)
    line.comboBox().setCurrentIndex(0)
    assert stage.changed == {"source": BUILTIN} and stage.section.problem() == ""
    line.currentPath = str(tmp_path / "none.ts")
    assert "Source network: There is no network file" in stage.section.problem()
    line.currentPath = str(program(tmp_path))
    assert stage.changed == {"source": str(tmp_path / "similar.ts")} and stage.section.problem() == ""
    count = len(stage.described)
    stage.section.refresh()
    assert len(stage.described) == count
    line.currentPath = str(program(tmp_path, "wide", [*CHANNELS, "PD", "CT"]))
    assert stage.section.problem().startswith("The source network wide takes PD, CT, which the attacked network does not")
    line.currentPath = ""
    assert stage.changed == {} and stage.section.problem()


def test_the_attack_is_chosen_by_name_and_detailed_as_json(stage: Stage) -> None:
    stage.state.changeAttack("transfer", {"source": BUILTIN})
    editor = stage.editor("method")
    titles = [editor.names.itemText(n) for n in range(editor.names.count)]
    assert {"PGD", "FGSM", "Square attack"} <= set(titles) and editor.names.currentText == "PGD"
    others = {cls.name: cls.title for cls in ATTACKS.values() if cls.title not in titles}
    assert {"uniform-noise", "universal-perturbation", "transfer"} <= set(others)
    for name in others:
        stage.state.changeAttack("transfer", {"source": BUILTIN, "method": name})
        assert stage.section.problem(), name
    stage.state.changeAttack("transfer", {"source": BUILTIN})
    for title in titles:
        editor.names.setCurrentIndex(titles.index(title))
        assert stage.section.problem() == "", title
    editor.names.setCurrentIndex(titles.index("i-FGSM"))
    assert stage.changed["method"] == "ifgsm"
    for text in ('{"steps": 4}', '"steps": 4'):
        editor.details.text = text
        assert stage.changed["method"] == {"attack": "ifgsm", "steps": 4} and editor.details.text == text
    editor.details.text = '{"steps": 4'
    assert "no JSON" in stage.section.problem()
    unfinished = stage.changed
    again = Stage()
    again.state.changeAttack("transfer", unfinished)
    assert (again.editor("method").names.currentText, again.editor("method").details.text) == ("i-FGSM", '{"steps": 4')
    editor.details.text = '{"stairs": 4}'
    assert "no setting stairs" in stage.section.problem()
    editor.details.text = ""
    assert stage.changed["method"] == "ifgsm" and stage.section.problem() == ""
    stage.store(source=BUILTIN, method='{"attack": "square", "queries": 30}')
    assert (editor.names.currentText, editor.details.text) == ("Square attack", '{"queries": 30}')
    stage.section.restoreButton.click()
    assert (editor.names.currentText, editor.details.text) == ("PGD", "") and stage.changed == {}


def test_the_reference_is_asked_for_by_the_attack_that_is_made(stage: Stage) -> None:
    assert stage.section.needsReference()
    stage.state.changeAttack("transfer", {"method": {"attack": "pgd", "against": "prediction"}})
    assert not stage.section.needsReference()


NESTED = {"attack": "transfer", "source": "x.ts", "trust": True}
STRANGERS: dict[str, dict[str, Any]] = {
    "plain": {"trust": True},
    "plain and untrue": {"trust": False},
    "not a truth value": {"trust": "yes"},
    "in the method": {"method": {"attack": "pgd", "trust": True}},
    "in the method's text": {"method": '{"attack": "pgd", "trust": true}'},
    "escaped": {"method": ESCAPED},
    "with spaces": {"method": "  \n" + ESCAPED},
    "deep in the method": {"method": {"attack": "pgd", "classes": [{"more": {"trust": True}}]}},
    "a transfer in a transfer": {"method": NESTED, "trust": True},
    "as text": {"method": json.dumps(NESTED)},
    "a text in a text": {"method": json.dumps({"attack": "transfer", "method": json.dumps(NESTED)})},
    "three deep": {"method": {"attack": "transfer", "method": json.dumps({"attack": "transfer", "method": ESCAPED})}},
}


@pytest.mark.parametrize("stored", STRANGERS.values(), ids=STRANGERS)
def test_a_scene_grants_no_trust(stage: Stage, tmp_path: Path, stored: dict[str, Any]) -> None:
    path = str(program(tmp_path))
    stage.store(source=path, **stored)
    assert speaksOfTrust(stage.node.GetParameter("Settings"))
    assert not speaksOfTrust(stage.changed) and not speaksOfTrust(stage.section.settings())
    assert stage.section.settings()["source"] == path
    if not stage.section.problem():
        configured = dict(stage.section.settings())
        assert not make_attack(configured.pop("attack"), configured).trust
    stage.answer = False
    assert not stage.section.ensureTrust() and len(stage.asked) == 1
    assert not speaksOfTrust(stage.section.settings())
    stage.editor("epsilon").widget.setValue(0.1)
    stage.state.change(opacity=0.2)
    assert stage.changed["epsilon"] == 0.1 and not speaksOfTrust(stage.node.GetParameter("Settings"))


def test_what_is_typed_grants_no_trust(stage: Stage, tmp_path: Path) -> None:
    stage.editor("source").widget.currentPath = str(program(tmp_path))
    for text in ('{"steps": 4, "trust": true}', '"steps": 4, "trust": true', '"steps": 4, "trust": true}'):
        stage.editor("method").details.text = ""
        stage.editor("method").details.text = text
        assert not speaksOfTrust(stage.node.GetParameter("Settings")) and not speaksOfTrust(stage.section.settings())


def test_other_settings_are_left_alone(stage: Stage) -> None:
    for method in ("pgd", '{"attack": "pgd",  "steps": 4}', {"attack": "pgd", "step_size": 1e-3}, '{"attack": "pgd", ', "{"):
        stage.store(source=BUILTIN, method=method)
        assert stage.changed == {"source": BUILTIN, "method": method}
    stage.store(source="trust", method="trust")
    assert stage.changed == {"source": "trust", "method": "trust"}
    stage.store(method='{"a":' * 10**5)
    assert stage.section.problem()
    stage.node.SetParameter("Settings", '{"attackSettings": {"transfer": ' + '{"a":' * 10**5)
    assert stage.state.settings.attack == "fgsm"


keys = st.sampled_from(["trust", "attack", "method", "Trust"])
data = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from(["trust", "{", '{"trust": 1', "pgd", " ", '"trust"']),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(keys, x, max_size=3) | x.map(json.dumps),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=data)
def test_nothing_but_trust_is_taken_out(slicerHost: Any, value: Any) -> None:
    from SegAdversarialGui.state import withoutTrust

    found = withoutTrust(value)
    assert not speaksOfTrust(found) and withoutTrust(found) == found
    if not speaksOfTrust(value):
        assert json.dumps(found) == json.dumps(value)
    assert withoutTrust({"trust": value, "other": 1}) == {"other": 1}


def test_trust_is_asked_once_for_each_content(stage: Stage, tmp_path: Path) -> None:
    from SegAdversarialGui import trust
    from SegAdversarialGui.state import State

    path = program(tmp_path)
    stage.store(source=str(path))
    before = stage.node.GetParameter("Settings")
    stage.answer = False
    assert not stage.section.ensureTrust() and "trust" not in stage.section.settings()
    stage.answer = True
    assert stage.section.ensureTrust() and len(stage.asked) == 2
    assert (stage.asked[0].name, stage.asked[0].path) == ("similar", str(path))
    sums = [hashlib.sha256(path.read_bytes()).hexdigest()]
    assert stage.section.settings() == {"attack": "transfer", "source": str(path), "trust": sums}
    assert stage.section.ensureTrust() and len(stage.asked) == 2
    assert stage.node.GetParameter("Settings") == before and set(stage.node.GetParameterNames()) == {"Settings"}
    other = State(stage.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    other.change(attack="transfer", attackSettings={"transfer": {"source": f" {path} ", "method": "fgsm"}})
    stage.section.setState(other)
    assert stage.section.ensureTrust() and len(stage.asked) == 2
    assert stage.section.settings()["source"] == str(path) and stage.section.settings()["trust"] == sums
    os.utime(path, ns=(1, 1))
    path.with_suffix(".json").write_text(path.with_suffix(".json").read_text() + " ")
    assert stage.section.settings()["trust"] == sums  # settings are no program
    torch.jit.script(tiny_network(4, 4, seed=1).float()).save(str(path))
    assert "trust" not in stage.section.settings()
    assert stage.section.ensureTrust() and len(stage.asked) == 3
    trust.forgetAll()
    assert stage.section.ensureTrust() and len(stage.asked) == 4


def test_what_is_no_program_and_what_is_not_there_is_not_asked_about(stage: Stage, tmp_path: Path) -> None:
    for source in (BUILTIN, str(tmp_path / "none.ts"), "", None, 3):
        stage.state.changeAttack("transfer", {"source": source})
        assert stage.section.ensureTrust() and "trust" not in stage.section.settings()
    stage.state.change(attack="pgd")
    stage.state.changeAttack("pgd", {"source": str(program(tmp_path))})
    assert stage.section.ensureTrust() and stage.asked == []


def test_trust_in_a_file_is_none_in_one_whose_name_begins_alike(stage: Stage, tmp_path: Path) -> None:
    """The attack reads a path without the spaces around it, so that this is the file to ask about."""
    program(tmp_path, "a")
    spaced = tmp_path / "a.ts "
    spaced.write_bytes(b"something harmless")
    stage.state.changeAttack("transfer", {"source": str(spaced)})
    stage.answer = False
    assert not stage.section.ensureTrust() and stage.asked[0].path == str(tmp_path / "a.ts")


class Answers:
    """Answers the real question, and counts how often it was asked."""

    def __init__(self) -> None:
        self.count, self.yes = 0, False

    def answer(self) -> Any:
        import qt

        self.count += 1
        return qt.QMessageBox.Yes if self.yes else qt.QMessageBox.No


@pytest.fixture
def answers(panel: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    import qt
    from SegAdversarialGui import trust

    answering = Answers()
    monkeypatch.setattr(qt.QMessageBox, "exec_", lambda box: answering.answer(), raising=False)
    yield answering
    trust.forgetAll()
    panel.state.change(attack="fgsm", attackSettings={})
    messages().clear()


def latest() -> Any:
    from SegAdversarialLib.scene import find_results

    return find_results()[-1]


def test_the_whole_way(slicerHost: Any, panel: Any, answers: Answers, tmp_path: Path) -> None:
    """A stranger's scene: No leaves all as it was, Yes makes the attack; the worker opens the source once."""
    path = program(tmp_path)
    stored = {"source": str(path), "method": {"attack": "fgsm", "trust": True}, "trust": True}
    chosen = {**json.loads(panel.state.node.GetParameter("Settings") or "{}"), "attack": "transfer"}
    panel.state.node.SetParameter("Settings", json.dumps({**chosen, "attackSettings": {"transfer": stored}}))
    waitUntil(slicerHost, lambda: panel.run.attackButton.enabled, "an attack could start")
    before, log = sceneState(), panel.run.log.toPlainText()
    click(slicerHost, panel, panel.run.attackButton)
    assert answers.count == 1 and sceneState() == before and panel.run.log.toPlainText() == log and not messages()
    answers.yes = True
    for _ in range(2):
        click(slicerHost, panel, panel.run.attackButton)
        assert not messages(), messages()
    assert answers.count == 2 and panel.run.log.toPlainText().count(f"opening {path}") == 1
    nodes = latest()
    assert "FGSM on similar" in nodes.summary and set(nodes.adversarial) == set(CHANNELS)
    configuration = json.loads(nodes.configuration.GetText())
    assert configuration["attack"]["source"] == str(path) and configuration["model"] == BUILTIN
    import slicer

    texts = slicer.util.getNodesByClass("vtkMRMLTextNode")
    assert len(texts) == 2 and not any(speaksOfTrust(x.GetText()) for x in texts)
    panel.state.change(opacity=0.5)
    assert not speaksOfTrust(panel.state.node.GetParameter("Settings"))


def test_the_console_is_the_users_own_word(slicerHost: Any, panel: Any, answers: Answers, tmp_path: Path) -> None:
    import slicer

    from SegAdversarialLib import InputError, SegmentationModel
    from SegAdversarialLib.attacks import Transfer

    path, volumes = program(tmp_path), panel.images.volumes()
    settings = {"source": str(path), "method": "fgsm", "epsilon": 0.05}
    before = sceneState()
    with pytest.raises(InputError, match="if you trust its source"):
        panel.logic.attack(volumes, attack=Transfer(**settings))
    with pytest.raises(InputError, match="if you trust its source"):
        panel.logic.attack(volumes, attack=Transfer(**settings), trust=True)  # the attacked network's
    opened = SegmentationModel.from_network(tiny_network(4, 4).float(), channels=CHANNELS, classes=list("abcd"))
    with pytest.raises(InputError, match="source network as a file"):
        panel.logic.attack(volumes, attack=Transfer(source=opened))
    assert sceneState() == before
    nodes = panel.logic.attack(volumes, attack=Transfer(**settings, trust=True))  # without reference: the network's own answer
    configuration = json.loads(nodes.configuration.GetText())
    assert configuration["attack"]["method"]["against"] == "prediction" and not speaksOfTrust(configuration)
    for channel, volume in volumes.items():
        original, changed = (slicer.util.arrayFromVolume(x) for x in (volume, nodes.adversarial[channel]))
        assert 0 < np.abs(changed - original).max() <= 0.05 * np.abs(original).max() * (1 + 1e-5)
    asked = {"attack": "transfer", **settings, "method": {"attack": "fgsm", "against": "label"}, "trust": True}
    again = panel.logic.attack(volumes, attack=asked, reference=panel.state.reference)
    configuration = json.loads(again.configuration.GetText())
    assert configuration["attack"]["method"]["against"] == "label" and not speaksOfTrust(configuration)
    segmented = panel.logic.segment(volumes, model=str(path), trust=True)
    assert not speaksOfTrust(segmented.configuration.GetText())
    assert answers.count == 0
    finish(slicerHost, panel)


def test_generators_and_patterns_are_chosen_as_files(stage: Stage, tmp_path: Path) -> None:
    stage.state.change(attack="generative")
    stage.section.refresh()
    line = stage.editor("generator").widget
    assert [line.comboBox().itemText(n) for n in range(line.comboBox().count)] == [BUILTIN]
    assert line.currentPath == BUILTIN and any("*.safetensors" in x for x in line.nameFilters)
    line.currentPath = str(tmp_path / "mine.safetensors")
    assert dict(stage.state.attackSettings("generative")) == {"generator": str(tmp_path / "mine.safetensors")}
    stage.state.change(attack="universal-perturbation")
    stage.section.refresh()
    line = stage.editor("perturbation").widget
    assert line.currentPath == "" and any("*.safetensors" in x for x in line.nameFilters)
