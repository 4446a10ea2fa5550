"""The panel's Attack section: editors that are made from the attacks' schemas, for attacks that nobody has thought of too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, ClassVar

import pytest

from SegAdversarialLib.attacks import ATTACKS
from SegAdversarialLib.attacks.attack import parameter
from SegAdversarialLib.attacks.pgd import PGD


class Stage:
    """An Attack section, alone in a window, on a real parameter node."""

    def __init__(self, entries: Callable[[], Any] | None = None) -> None:
        import qt
        import slicer
        from SegAdversarialGui import catalog
        from SegAdversarialGui.attack_section import AttackSection
        from SegAdversarialGui.state import State

        self.scene = slicer.mrmlScene
        self.node = self.scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
        self.state = State(self.node)
        self.section = AttackSection(entries or catalog.attacks)
        self.node.AddObserver("ModifiedEvent", lambda *_: self.section.refresh())
        self.window = qt.QWidget()
        layout = qt.QVBoxLayout(self.window)
        layout.addWidget(self.section.widget)
        layout.addStretch(1)
        self.window.resize(400, 900)
        self.window.show()
        self.section.setState(self.state)
        self.section.setNetwork(network())

    @property
    def changed(self) -> dict[str, Any]:
        return self.state.attackSettings(self.state.settings.attack)

    def label(self, field: str) -> Any:
        import qt

        return self.find(qt.QLabel, self.widget(field).objectName + "Label")

    def widget(self, field: str) -> Any:
        return self.section.editors[field].widget

    def find(self, kind: Any, name: str = "") -> Any:
        found = self.section.widget.findChildren(kind, name) if name else self.section.widget.findChildren(kind)
        return found[0] if name and len(found) == 1 else found

    def visible(self, widget: Any) -> bool:
        settle()
        return bool(widget.isVisibleTo(self.window))


def network(**changes: Any) -> Any:
    from SegAdversarialGui.catalog import NetworkEntry

    return NetworkEntry(
        **{
            "name": "toy",
            "channels": ("T1", "T2", "FLAIR"),
            "classes": ((0, "background"), (1, "core"), (2, "oedema"), (4, "whole tumour")),
            "head": "softmax",
            "grid": "",
            "sizeBytes": 1,
            "needsTrust": False,
            "description": "",
            "structures": ("core", "oedema", "whole tumour"),
            "targets": ((0, "background"), (1, "core"), (2, "oedema"), ("whole tumour", "whole tumour")),
            **changes,
        }
    )


@pytest.fixture
def stage(slicerHost: Any) -> Iterator[Stage]:
    made = Stage()
    yield made
    made.section.setState(None)
    made.window.hide()
    made.scene.Clear(0)


def settle() -> None:
    import slicer

    for _ in range(3):
        slicer.app.processEvents()


@pytest.mark.parametrize("name", ATTACKS)
def test_every_field_of_every_attack_has_an_editor(stage: Stage, name: str) -> None:
    stage.state.change(attack=name)
    schema = ATTACKS[name].model_json_schema()["properties"]
    shown = {key for key, field in schema.items() if field.get("choose") not in ("region", "trust")}
    assert set(stage.section.editors) == shown
    assert stage.section.methodSelector.currentText == ATTACKS[name].title
    assert stage.section.methodNote.text == ATTACKS[name].one_line()
    assert stage.section.citationNote.text == ATTACKS[name].citation
    for key in shown:
        widget, label, field = stage.widget(key), stage.label(key), schema[key]
        assert label.buddy().objectName == widget.objectName and label.text and widget.accessibleName == label.text
        assert label.toolTip == widget.toolTip
        said = " ".join(widget.toolTip.split())
        assert field["description"] in said and field.get("unit", "") in said
        for kind in field.get("anyOf", [field]):
            for bound in ("minimum", "maximum", "exclusiveMinimum"):
                assert str(kind.get(bound, "")) in said
        assert stage.section.editors[key].value() == field["default"]
    lacking = bool(ATTACKS[name].needs) and schema[ATTACKS[name].needs]["default"] is None
    assert bool(stage.section.problem()) is lacking is stage.visible(stage.section.problemNote)
    assert stage.section.settings() == {"attack": name}


def test_advanced_settings_are_folded_away(stage: Stage) -> None:
    import ctk

    stage.state.change(attack="pgd")
    settle()
    box = stage.find(ctk.ctkCollapsibleGroupBox, "moreSettingsBox")
    assert box.collapsed and stage.visible(stage.widget("epsilon")) and not stage.visible(stage.widget("seed"))
    box.collapsed = False
    assert stage.visible(stage.widget("seed"))
    stage.state.change(attack="fgsm")
    settle()
    assert not stage.find(ctk.ctkCollapsibleGroupBox, "moreSettingsBox").collapsed
    names = list(stage.section.editors)
    assert names.index("against") < names.index("clip")


def test_edits_reach_the_state_and_only_what_differs(stage: Stage) -> None:
    stage.widget("epsilon").setValue(0.1)
    assert stage.changed == {"epsilon": 0.1}
    stage.widget("epsilon_units").setCurrentIndex(1)
    stage.widget("quantize").setChecked(True)
    stage.widget("seed").text = str(2**40)
    assert stage.changed == {"epsilon": 0.1, "epsilon_units": "absolute", "quantize": True, "seed": 2**40}
    assert stage.section.settings() == {"attack": "fgsm", **stage.changed}
    stage.widget("epsilon").setValue(0.05)
    assert "epsilon" not in stage.changed
    assert stage.section.restoreButton.enabled
    stage.section.restoreButton.click()
    assert stage.changed == {} and stage.widget("seed").text == "0" and not stage.widget("quantize").checked
    assert not stage.section.restoreButton.enabled


def test_each_attack_keeps_its_own_settings(stage: Stage) -> None:
    stage.widget("epsilon").setValue(0.2)
    stage.section.methodSelector.setCurrentIndex(list(ATTACKS).index("uniform-noise"))
    assert stage.state.settings.attack == "uniform-noise" and stage.widget("epsilon").value == 0.01
    stage.widget("epsilon").setValue(0.3)
    stage.section.methodSelector.setCurrentIndex(list(ATTACKS).index("fgsm"))
    assert stage.widget("epsilon").value == 0.2
    assert stage.state.settings.attackSettings == {"fgsm": {"epsilon": 0.2}, "uniform-noise": {"epsilon": 0.3}}


def test_another_panel_on_the_same_node_shows_the_same(stage: Stage) -> None:
    stage.state.change(attack="pgd")
    stage.state.changeAttack("pgd", {"step_size": 0.004, "classes": ["core"], "channels": ["t2"], "temperature": "auto"})
    second = Stage()
    second.section.setState(stage.state)
    second.section._more.collapsed = False
    values = {name: editor.value() for name, editor in second.section.editors.items()}
    assert values["step_size"] == 0.004 and values["classes"] == ["core"] and values["temperature"] == "auto"
    assert [x.checked for x in second.section.editors["channels"].parts] == [False, True, False]
    assert [x.checked for x in second.section.editors["classes"].parts] == [True, False, False]
    assert second.section.editors["step_size"].inner.widget.enabled
    assert not second.section.editors["temperature"].inner.widget.enabled


def test_channels_structures_and_classes_come_from_the_network(stage: Stage) -> None:
    stage.state.change(attack="tifgsm")
    boxes = stage.section.editors["channels"].parts
    assert [x.text for x in boxes] == ["T1", "T2", "FLAIR"] and all(x.checked for x in boxes)
    boxes[1].setChecked(False)
    assert stage.changed == {"channels": ["T1", "FLAIR"]}
    boxes[1].setChecked(True)
    assert stage.changed == {}
    target = stage.widget("target")
    assert [target.itemText(n) for n in range(target.count)] == ["background", "core", "oedema", "whole tumour"]
    assert target.currentText == "core"
    target.setCurrentIndex(3)
    assert stage.changed == {"target": "whole tumour"}
    for box in boxes:
        box.setChecked(False)
    assert stage.section.problem() == "ti-FGSM: channels: choose at least one channel, or all of them."


def test_what_another_network_lacks_stays_chosen_and_is_shown(stage: Stage) -> None:
    stage.state.change(attack="tifgsm")
    stage.state.changeAttack("tifgsm", {"channels": ["FLAIR", "PD"], "target": 4, "classes": [2, "oedema"]})
    classes = ((1, "liver"),)
    stage.section.setNetwork(network(channels=("CT",), classes=classes, structures=("liver",), targets=classes))
    boxes = stage.section.editors["channels"].parts
    assert [(x.text, x.checked) for x in boxes][0] == ("CT", False) and all(x.checked for x in boxes[1:]) and len(boxes) == 3
    assert "4" in stage.widget("target").currentText
    assert stage.changed == {"channels": ["FLAIR", "PD"], "target": 4, "classes": [2, "oedema"]}
    stage.section.setNetwork(None)
    assert stage.section.editors["channels"].value() == ["FLAIR", "PD"] and stage.widget("target").currentText == "4"
    stage.state.changeAttack("tifgsm", {})
    assert stage.section.editors["channels"].parts == [] and stage.section.editors["channels"].value() is None


def test_wrong_settings_are_told_in_one_sentence(stage: Stage) -> None:
    stage.widget("epsilon").setValue(2)
    assert "epsilon is 2.0" in stage.section.problem().lower()
    assert stage.section.problemNote.text == stage.section.problem() and stage.visible(stage.section.problemNote)
    stage.widget("epsilon_units").setCurrentIndex(1)
    assert stage.section.problem() == "" and not stage.visible(stage.section.problemNote)
    stage.widget("seed").text = "12x"
    assert "seed" in stage.section.problem() and stage.changed["seed"] == "12x"
    stage.state.changeAttack("fgsm", {"epsilon": "much", "colour": 3})
    assert stage.section.problem() and stage.section.editors["epsilon"].value() == "much"
    stage.widget("restarts").setValue(2)
    assert stage.changed == {"epsilon": "much", "colour": 3, "restarts": 2}
    stage.state.change(attack="no-such-attack")
    assert "no-such-attack" in stage.section.problem() and stage.section.editors == {}


def test_the_region_is_not_chosen_here(stage: Stage) -> None:
    stage.state.changeAttack("fgsm", {"region": "foreground", "epsilon": 0.1})
    assert stage.section.settings() == {"attack": "fgsm", "epsilon": 0.1}


def test_the_reference_is_asked_for_only_where_it_is_used(stage: Stage) -> None:
    assert stage.section.needsReference()
    stage.widget("against").setCurrentIndex(1)
    assert not stage.section.needsReference()
    stage.state.change(attack="uniform-noise")
    assert not stage.section.needsReference()


def test_typing_is_not_disturbed(stage: Stage) -> None:
    line = stage.widget("seed")
    line.text = "123456"
    line.cursorPosition = 2
    stage.section.refresh()
    stage.state.change(device="cpu")
    assert line.text == "123456" and line.cursorPosition == 2
    before = dict(stage.section.editors)
    stage.section.setNetwork(network())
    stage.section.refresh()
    assert stage.section.editors == before


def test_without_the_packages(slicerHost: Any) -> None:
    from SegAdversarialGui import catalog

    missing = True

    def entries() -> list[Any]:
        if missing:
            raise ImportError("No module named 'pydantic'", name="pydantic")
        return catalog.attacks()

    stage = Stage(entries)
    assert stage.section.missingNote.text == "Attacks are listed once the needed packages are installed."
    assert stage.visible(stage.section.missingNote) and not stage.visible(stage.section.methodSelector)
    assert stage.section.editors == {} and stage.section.problem() and not stage.section.needsReference()
    missing = False
    stage.section.reload()
    assert not stage.visible(stage.section.missingNote) and stage.visible(stage.section.methodSelector)
    assert "epsilon" in stage.section.editors and stage.section.problem() == ""


class Odd:
    """A type that no JSON schema knows."""


class Plane(Enum):
    """An enumeration, which schemas hold by reference."""

    AXIAL = "axial"
    CORONAL = "coronal"


@pytest.fixture
def strange() -> Iterator[type[PGD]]:
    class Strange(PGD):
        """An attack with a field of every kind: nobody has written an editor for it."""

        name: ClassVar[str] = "strange"
        title: ClassVar[str] = "Strange attack"
        citation: ClassVar[str] = "Nobody 2031"

        turns: int = parameter(3, "How often it turns.", unit="turns", ge=1, lt=8)
        share: float = parameter(0.5, "A share of something.", unit="share of the whole heart", gt=0, lt=1)
        plane: Plane = parameter(Plane.AXIAL, "axial: as the table moves; coronal: as people are seen from the front.")
        fast: bool = parameter(True, "Whether it hurries.")
        pause: float | None = parameter(None, "A pause between steps; none: as short as it can be.", unit="s", ge=0)
        weights: tuple[float, float] = parameter((1.0, 2.5), "Two weights.")
        odd: Odd | None = parameter(None, "Something odd.", advanced=True)
        table: dict[str, float] = parameter({"a": 1.0}, "Some numbers by name.")
        either: int | str | None = parameter("x y", "A number or a word.")

    ATTACKS[Strange.name] = Strange
    yield Strange
    del ATTACKS[Strange.name]


def test_a_new_attack_appears_by_itself(slicerHost: Any, strange: type[PGD]) -> None:
    stage = Stage()
    stage.state.change(attack="strange")
    assert stage.section.methodSelector.currentText == "Strange attack"
    assert set(stage.section.editors) == set(strange.model_fields) - {"region"}
    assert stage.section.problem() == ""
    turns = stage.widget("turns")
    assert (turns.minimum, turns.maximum, turns.suffix, turns.value) == (1, 7, " turns", 3)
    share = stage.widget("share")
    assert 0 < share.minimum <= 0.0001 and 0.999 <= share.maximum < 1 and share.suffix == ""
    tip = " ".join(share.toolTip.split())
    assert "share of the whole heart" in tip and "above 0, below 1" in tip and "Default: 0.5" in tip
    assert [stage.widget("plane").itemText(n) for n in range(2)] == ["axial", "coronal"]
    assert stage.label("turns").text == "Turns" and stage.label("turns").toolTip == turns.toolTip
    assert stage.widget("weights").text == "1.0, 2.5" and stage.section.editors["odd"].value() is None
    turns.setValue(5)
    stage.widget("plane").setCurrentIndex(1)
    stage.section.editors["pause"].check.setChecked(False)
    stage.section.editors["pause"].inner.widget.setValue(2.5)
    stage.widget("weights").text = "3, 4.5"
    stage.widget("table").text = '{"a": 1, "b": 2}'
    stage.widget("either").text = "17"
    assert stage.section.problem() == ""
    made = strange(**stage.changed)
    assert (made.turns, made.plane, made.pause, made.weights) == (5, Plane.CORONAL, 2.5, (3.0, 4.5))
    assert made.table == {"a": 1.0, "b": 2.0} and made.either == 17


def test_nothing_is_cut_off_or_too_wide(stage: Stage) -> None:
    import qt

    stage.section.setNetwork(network(channels=("T1", "T2 with a name that goes on and on until nobody reads it", "PD")))
    for name in ATTACKS:
        stage.state.change(attack=name)
        stage.section._more.collapsed = False
        settle()
        assert stage.window.minimumSizeHint.width() <= 380
        for label in stage.find(qt.QLabel):
            if stage.visible(label) and label.text:
                needed = label.heightForWidth(label.width) if label.wordWrap else label.sizeHint.height()
                assert label.height >= needed, f"{label.text!r} is cut off"
                assert label.wordWrap or label.width >= label.sizeHint.width()


def test_names_are_unique_and_keyboard_order_is_reading_order(stage: Stage) -> None:
    import qt

    stage.state.change(attack="pgd")
    stage.state.change(attack="tifgsm")
    settle()
    order = stage.section.tabOrder()
    names = [x.objectName for x in order]
    assert all(names) and len(set(names)) == len(names) and all(x.toolTip for x in order[1:])
    everything = [x.objectName for x in stage.find(qt.QWidget) if x.objectName and not x.objectName.startswith("qt_")]
    assert len(set(everything)) == len(everything)
    chain, widget = [], stage.section.widget
    for _ in range(400):
        if widget.objectName in names:
            chain.append(widget.objectName)
        widget = widget.nextInFocusChain()
        if widget.objectName == names[0]:
            break
    assert chain == names


def test_everything_is_translated(slicerHost: Any) -> None:
    import qt
    from host import i18n
    from SegAdversarialGui import catalog

    i18n.pseudo = True
    try:
        stage = Stage()
        data = {"T1", "T2", "FLAIR", "core", "oedema", "whole tumour", "background", "...", *catalog.builtinNetworks()}
        for name in ATTACKS:
            stage.state.change(attack=name)
            texts = [x.text for x in (*stage.find(qt.QLabel), *stage.find(qt.QAbstractButton))]
            texts += [x.title for x in stage.find(qt.QGroupBox)]
            for box in stage.find(qt.QComboBox):
                texts += [box.itemText(n) for n in range(box.count)]
            texts += [x.toolTip for x in (*stage.find(qt.QWidget),) if not x.objectName.startswith("qt_")]
            texts += [x.suffix.strip() for x in (*stage.find(qt.QSpinBox), *stage.find(qt.QDoubleSpinBox))]
            assert [x for x in texts if x and x not in data and "⟦" not in x] == []
    finally:
        i18n.pseudo = False


def test_the_catalogue_tells_of_networks(slicerHost: Any) -> None:
    from SegAdversarialGui import catalog

    name = catalog.builtinNetworks()[0]
    entry = catalog.network(name)
    assert entry.name == name and not entry.needsTrust and entry.sizeBytes > 1e6 and entry.grid
    assert (0, "background") in entry.classes and "background" not in entry.structures
    assert dict(entry.targets)[0] == "background"
