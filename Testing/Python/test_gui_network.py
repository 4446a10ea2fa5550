"""The panel's Network section: built-in networks, files and folders, what is said of them, trust, and devices."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_network
from gui_helpers import putAway

BUILTIN = "builtin:brain-tumour-phantom"
SETTINGS = {"channels": ["T1", "T2"], "classes": {"0": "background", "1": "core", "2": "oedema"}, "description": "A toy."}
GPU = {"id": "cuda:0", "name": "NVIDIA H100", "memory": 80 << 30}


class Stage:
    """A Network section, alone in a narrow window, on a real parameter node."""

    def __init__(self) -> None:
        import qt
        import slicer
        from SegAdversarialGui import catalog
        from SegAdversarialGui.network_section import NetworkSection

        self.scene = slicer.mrmlScene
        self.catalog = catalog
        self.described: list[tuple[str, str]] = []
        self.asked: list[Any] = []
        self.answer = True
        self.searches = self.changes = 0
        self.packages = True
        self.section = NetworkSection(self._describe, self._builtin, self._ask, self._search)
        self.section.onNetworkChanged = self._changed
        self.state = self.addState()
        self.section.setScene(self.scene)
        self.section.setState(self.state)
        self.window = qt.QWidget()
        layout = qt.QVBoxLayout(self.window)
        layout.addWidget(self.section.widget)
        layout.addStretch(1)
        self.window.show()

    def addState(self) -> Any:
        from SegAdversarialGui.state import State

        node = self.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
        node.AddObserver("ModifiedEvent", lambda *_: self.section.refresh())
        return State(node)

    def find(self, name: str) -> Any:
        import qt

        found = self.section.widget.findChildren(qt.QWidget, name)
        assert len(found) == 1, (name, found)
        return found[0]

    def choose(self, source: str) -> None:
        combo = self.find("networkSourceCombo")
        combo.setCurrentIndex(texts(combo).index(source))

    def open(self, path: Path) -> None:
        """As the user does: file or folder, then the path."""
        self.choose("Folder..." if path.is_dir() else "File...")
        self.find("networkFolderLine" if path.is_dir() else "networkFileLine").currentPath = str(path)

    def shown(self, name: str) -> bool:
        return bool(self.find(name).isVisibleTo(self.window))

    def _describe(self, path: str, settings: str) -> Any:
        self._need()
        self.described.append((path, settings))
        return self.catalog.network(path, settings)

    def _builtin(self) -> list[str]:
        self._need()
        return self.catalog.builtinNetworks()

    def _need(self) -> None:
        if not self.packages:
            raise ModuleNotFoundError("No module named 'pydantic'")

    def _ask(self, network: Any) -> bool:
        self.asked.append(network)
        return self.answer

    def _search(self) -> None:
        self.searches += 1

    def _changed(self) -> None:
        self.changes += 1


@pytest.fixture(name="stage")
def _stage(slicerHost: Any) -> Iterator[Stage]:
    made = Stage()
    yield made
    putAway(made)


@pytest.fixture(name="program")
def _program(tmp_path: Path) -> Path:
    """A TorchScript network with its settings beside it."""
    path = tmp_path / "net" / "toy.ts"
    path.parent.mkdir()
    torch.jit.script(tiny_network()).save(str(path))
    path.with_suffix(".json").write_text(json.dumps(SETTINGS))
    return path


def texts(combo: Any) -> list[str]:
    return [combo.itemText(n) for n in range(combo.count)]


def test_a_name_that_is_too_long_loses_its_middle_and_is_whole_in_the_tool_tip(stage: Stage) -> None:
    """The list itself is as wide as its names."""
    import qt

    combo = stage.find("networkSourceCombo")
    assert combo.elideMode == qt.Qt.ElideMiddle
    name = "104 organs, bones, muscles and vessels in CT (MONAI, 138 MB to download)"
    for path in ("builtin:brain-tumour-phantom", f"builtin:{name}"):
        stage.state.change(network=path)
        stage.section.refresh()
        assert combo.toolTip.replace("\n", " ").startswith(f"{combo.currentText} The network that is used: ")
    assert name in combo.currentText
    assert stage.section.widget.sizeHint.width() <= 400


def test_the_builtin_network_is_described(stage: Stage) -> None:
    assert texts(stage.find("networkSourceCombo")) == ["Brain tumour phantom (built-in)", "File...", "Folder..."]
    entry = stage.section.entry()
    assert entry.channels == ("T1", "T1ce", "T2", "FLAIR") and stage.section.problem() == ""
    note = stage.find("networkInfoNote").text
    assert "T1, T1ce, T2, FLAIR" in note and "Finds 1 necrotic core" in note and "MB" in note and entry.description in note
    assert not any(stage.shown(x) for x in ("networkFileLine", "networkFolderLine", "networkSettingsLine"))
    assert not stage.section.needsTrust() and stage.section.trusted() and stage.section.ensureTrust()
    assert stage.section.source() == {"path": BUILTIN, "trust": False, "device": "auto", "settings": None}
    assert stage.asked == []


def test_it_is_described_once(stage: Stage) -> None:
    assert len(stage.described) == 1 and stage.changes == 1
    stage.state.change(device="cpu", opacity=0.2)
    stage.section.refresh()
    assert len(stage.described) == 1 and stage.changes == 1


def test_a_file_and_its_settings(stage: Stage, program: Path, tmp_path: Path) -> None:
    stage.open(program)
    assert stage.state.settings.network == str(program)
    assert stage.shown("networkFileLine") and stage.shown("networkSettingsLine") and not stage.shown("networkFolderLine")
    assert stage.section.entry().channels == ("T1", "T2") and stage.changes == 3
    assert "Finds 1 core, 2 oedema" in stage.find("networkInfoNote").text
    assert "is a program" in stage.find("networkInfoNote").text
    other = tmp_path / "other.json"
    other.write_text(json.dumps({**SETTINGS, "channels": ["FLAIR", "CT"]}))
    stage.find("networkSettingsLine").currentPath = str(other)
    assert stage.section.entry().channels == ("FLAIR", "CT")
    assert stage.section.source()["settings"] == str(other)
    stage.find("networkSettingsLine").currentPath = ""
    assert stage.section.entry().channels == ("T1", "T2") and stage.section.source()["settings"] is None
    stage.find("networkSettingsLine").currentPath = str(other)
    stage.choose("Brain tumour phantom (built-in)")
    assert stage.section.source()["settings"] is None and stage.section.problem() == ""


def test_a_file_that_changes_on_disk_is_described_anew(stage: Stage, program: Path) -> None:
    stage.open(program)
    count = len(stage.described)
    stage.section.refresh()
    assert len(stage.described) == count
    program.with_suffix(".json").write_text(json.dumps({**SETTINGS, "channels": ["FLAIR", "CT", "PD"]}))
    stage.section.refresh()
    assert len(stage.described) == count + 1 and stage.section.entry().channels == ("FLAIR", "CT", "PD")


def test_a_folder(stage: Stage, program: Path) -> None:
    stage.open(program.parent)
    assert stage.shown("networkFolderLine") and not stage.shown("networkFileLine")
    assert stage.section.entry().channels == ("T1", "T2") and stage.section.needsTrust()
    fresh = stage.addState()
    fresh.change(network=str(program.parent))
    stage.section.setState(fresh)
    assert stage.find("networkSourceCombo").currentText == "Folder..." and stage.shown("networkFolderLine")


def test_what_cannot_be_described_is_said_in_one_sentence(stage: Stage, program: Path, tmp_path: Path) -> None:
    stage.choose("File...")
    assert stage.section.problem() == "Choose a network file." and stage.section.entry() is None
    stage.open(tmp_path / "nothing.ts")
    assert "There is no network file" in stage.section.problem()
    assert stage.find("networkProblemNote").text.replace("\u200b", "") == stage.section.problem()
    assert stage.shown("networkProblemNote")
    assert not stage.shown("networkInfoNote") and not stage.section.ensureTrust() and stage.asked == []
    program.with_suffix(".json").write_text('{"channels": [')
    stage.open(program)
    assert "no readable JSON" in stage.section.problem()
    program.with_suffix(".json").write_text('{"channels": ["T1"], "clases": []}')
    stage.section.refresh()
    assert "no setting clases" in stage.section.problem()
    program.with_suffix(".json").unlink()
    stage.section.refresh()
    assert "It is not known which channels and classes" in stage.section.problem()
    stage.choose("Folder...")
    assert stage.section.problem() == "Choose the network's folder."
    stage.open(tmp_path)
    assert "holds no network" in stage.section.problem()
    stage.find("networkFolderLine").currentPath = ""
    assert stage.section.problem() == "Choose the network's folder." and stage.state.settings.network == ""
    stage.state.change(network="builtin:unknown")
    assert "There is no built-in network" in stage.section.problem()
    assert stage.find("networkSourceCombo").currentText == "Unknown (built-in)"


def test_packages_that_are_missing(stage: Stage, program: Path) -> None:
    stage.packages = False
    fresh = stage.addState()
    fresh.change(network=str(program))
    stage.section.setState(fresh)
    assert "once the packages" in stage.section.problem() and stage.section.entry() is None
    assert texts(stage.find("networkSourceCombo")) == ["File...", "Folder..."]
    stage.state.change(network=BUILTIN)
    stage.section.setState(stage.state)
    assert stage.find("networkSourceCombo").currentText == "Brain tumour phantom (built-in)"
    stage.packages = True
    assert stage.section.entry().name == BUILTIN and stage.section.problem() == ""
    assert stage.find("networkInfoNote").text != ""


def test_devices(stage: Stage) -> None:
    combo = stage.find("deviceCombo")
    assert texts(combo) == ["Automatic", "CPU"] and combo.currentText == "Automatic"
    stage.find("findDevicesButton").click()
    assert stage.searches == 1
    stage.state.change(device="cuda:0")
    assert texts(combo) == ["Automatic", "CPU", "cuda:0"] and combo.currentText == "cuda:0"
    cpu = {"id": "cpu", "name": "AMD EPYC", "memory": 128 << 30}
    stage.section.setDevices([cpu], "Install a PyTorch for CUDA to use the NVIDIA card.")
    assert texts(combo) == ["Automatic", "CPU (AMD EPYC, 128 GB)", "cuda:0 (not found)"]
    assert combo.currentText == "cuda:0 (not found)" and stage.section.source()["device"] == "cuda:0"
    assert stage.find("deviceAdviceNote").text.startswith("Install a PyTorch") and stage.shown("deviceAdviceNote")
    stage.section.setDevices([cpu, GPU])
    assert combo.currentText == "NVIDIA H100, 80 GB (cuda:0)" and not stage.shown("deviceAdviceNote")
    combo.setCurrentIndex(1)
    assert stage.state.settings.device == "cpu"


def test_each_parameter_node_keeps_its_own_choices(stage: Stage, program: Path) -> None:
    stage.open(program)
    other = stage.addState()
    stage.section.setState(other)
    assert stage.section.entry().name == BUILTIN and not stage.shown("networkFileLine")
    stage.find("deviceCombo").setCurrentIndex(1)
    stage.section.setState(stage.state)
    assert stage.find("networkFileLine").currentPath == str(program) and stage.find("deviceCombo").currentIndex == 0
    assert stage.section.entry().name == "toy"
    stage.section.setState(None)
    assert stage.section.entry() is None and stage.section.source()["path"] == ""
    stage.choose("File...")
    assert other.settings.network == BUILTIN and other.settings.device == "cpu"


def test_every_widget_has_a_name_a_tip_and_a_label(stage: Stage) -> None:
    import qt

    widgets = [stage.find(x) for x in ("networkSourceCombo", "networkFileLine", "networkFolderLine", "networkSettingsLine")]
    widgets += [stage.find("deviceCombo")]
    buddies = {x.buddy().objectName for x in stage.section.widget.findChildren(qt.QLabel) if x.buddy() is not None}
    assert buddies == {x.objectName for x in widgets}
    assert all(x.toolTip for x in (*widgets, stage.find("findDevicesButton"), stage.find("trustedFilesButton")))
    assert len(stage.section.tabOrder()) == 10


def test_it_fits_into_a_narrow_panel(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / ("a long name of a folder, " * 5)
    folder.mkdir()
    path = folder / f"{'network' * 20}.ts"
    torch.jit.script(tiny_network()).save(str(path))
    path.with_suffix(".json").write_text(json.dumps(SETTINGS))
    stage.open(path)
    stage.section.setDevices([{**GPU, "name": "NVIDIA H100 of quite an unusual make, with a name to match " * 2}])
    assert stage.section.entry() is not None
    assert stage.section.widget.minimumSizeHint.width() <= 380
    stage.state.change(network=f"/{'missing' * 30}.ts")
    assert stage.shown("networkProblemNote") and stage.section.widget.minimumSizeHint.width() <= 380


def test_all_texts_can_be_translated(slicerHost: Any, program: Path) -> None:
    import qt
    from host import i18n

    i18n.pseudo = True
    stage = Stage()
    try:
        for path in (BUILTIN, "", str(program), str(program.parent), "/no/such/file"):
            stage.state.change(network=path)
            labels = [x.text for x in stage.section.widget.findChildren(qt.QLabel)]
            lines = [line for text in labels for line in text.splitlines()]
            buttons = [x.text for x in stage.section.widget.findChildren(qt.QPushButton)]
            tips = [x.toolTip for x in stage.section.widget.findChildren(qt.QComboBox) if x.objectName.endswith("Combo")]
            combos = texts(stage.find("networkSourceCombo")) + texts(stage.find("deviceCombo"))
            assert [x for x in (*lines, *buttons, *tips, *combos) if x and "⟦" not in x] == []
    finally:
        i18n.pseudo = False
        stage.section.setState(None)
        stage.scene.Clear(0)
