"""The panel's Attack section: what is edited, what of it reaches the state, and what comes from the network."""

from __future__ import annotations

from typing import Any

from attack_helpers import Stage, _stage, network  # noqa: F401  (a fixture)

from SegAdversarialLib.attacks import ATTACKS


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


def test_the_catalogue_tells_of_networks(slicerHost: Any) -> None:
    from SegAdversarialGui import catalog

    name = catalog.builtinNetworks()[0]
    entry = catalog.network(name)
    assert entry.name == name and not entry.needsTrust and entry.sizeBytes > 1e6 and entry.grid
    assert (0, "background") in entry.classes and "background" not in entry.structures
    assert dict(entry.targets)[0] == "background"
