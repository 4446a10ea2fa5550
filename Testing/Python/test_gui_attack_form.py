"""The form of the panel's Attack section: made from the attacks' schemas, for attacks that nobody has thought of too."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Any, ClassVar

import pytest
from attack_helpers import Stage, _stage, network  # noqa: F401  (a fixture)
from gui_helpers import settle

from SegAdversarialLib.attacks import ATTACKS
from SegAdversarialLib.attacks.pgd import PGD
from SegAdversarialLib.attacks.settings import parameter


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
