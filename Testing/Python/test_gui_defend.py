"""Training through the panel, with the real worker: clicks, a live chart, a network that can be used, and cancelling."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gui_helpers import click, finish, messages, openModule, sceneState, waitUntil

from SegAdversarialLib import phantom
from SegAdversarialLib.jobs.running import run
from SegAdversarialLib.jobs.specification import read_job

TINY = {"name": "UNet", "arguments": {"channels": [4, 8], "strides": [2], "num_res_units": 0, "norm": "INSTANCE"}}


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two subjects in a folder each."""
    folder = tmp_path_factory.mktemp("cases")
    for seed in (1, 2):
        phantom.subject(seed=seed, shape=(32, 32, 32)).write(folder / f"subject-{seed}")
    return folder


@pytest.fixture(scope="module")
def panel(slicerHost: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The panel with a subject of 32 voxels a side and a network to train that is tiny."""
    import slicer
    from host import slicer_module

    from SegAdversarialLib import scene

    slicer_module.reset()
    panel = openModule()
    scene.add_case(phantom.subject(seed=7, shape=(32, 32, 32)), slicer.mrmlScene)
    from SegAdversarialGui.defense_catalog import Architecture

    panel.defend._architectures["tiny"] = Architecture("tiny", "Tiny", TINY)
    panel.defend.widget.collapsed = False
    waitUntil(slicerHost, lambda: panel.run.attackButton.enabled, "an attack could start")
    yield panel
    slicer_module.reset()


def choose(panel: Any, folder: Path, **changes: Any) -> None:
    """Choose a training of two epochs."""
    settings = {"architecture": "tiny", "trainFolder": str(folder), "trainingSettings": {"epochs": 2}, "device": "cpu"}
    panel.state.change(**{**settings, **changes})


def latest(kind: type) -> Any:
    from SegAdversarialLib.scene import find_runs

    return [x for x in find_runs() if isinstance(x, kind)][-1]


def test_nothing_can_be_trained_before_it_is_chosen(panel: Any) -> None:
    choose(panel, Path(), trainFolder="")
    tip = panel.defend.trainButton.toolTip
    assert not panel.defend.trainButton.enabled and "training cases" in tip and "folder for the trained" in tip
    assert not panel.defend.useButton.enabled


def test_trained_by_clicks_and_used(slicerHost: Any, panel: Any, cases: Path, tmp_path: Path) -> None:
    import slicer

    from SegAdversarialLib.scene import FigureNodes, SegmentationNodes, configuration_of

    folder = tmp_path / "network"
    choose(panel, folder)
    panel.defend.cases.line.currentPath = str(cases)
    assert panel.state.settings.trainCases == str(cases)
    before = sceneState()
    rows: list[int] = []
    panel.defend.recipeSelector.setCurrentIndex(panel.defend.recipeSelector.findData("noise-augmentation"))
    panel.defend.trainButton.click()
    waitUntil(slicerHost, lambda: _epochs() or not panel.logic.runner.busy, "an epoch was in the scene")
    rows.append(_epochs())
    finish(slicerHost, panel)
    assert not messages(), messages()
    nodes = latest(FigureNodes)
    rows.append(nodes.table.GetNumberOfRows())
    assert rows[-1] == 2 and nodes.summary == "Noise augmentation, UNet"
    assert [nodes.table.GetTable().GetColumnByName("epoch").GetValue(n) for n in range(2)] == [1, 2]
    drawn = [x.GetYColumnName() for x in nodes.series]
    assert drawn[:2] == ["loss", "Dice"] and all(x.GetTableNodeID() == nodes.table.GetID() for x in nodes.series)
    assert configuration_of(nodes)["training"]["recipe"] == {"recipe": "noise-augmentation"}
    ids, times, _items = sceneState()
    assert set(before[0]) <= set(ids), "nothing that was there has gone"
    manager = slicer.app.layoutManager()

    def shown() -> bool:
        plots = [manager.plotWidget(n).mrmlPlotViewNode() for n in range(manager.plotViewCount)]
        return nodes.chart.GetID() in [x.GetPlotChartNodeID() for x in plots]

    waitUntil(slicerHost, shown, "the chart was on the screen")
    assert manager.layout == 5711
    assert panel.results.runs.currentText.endswith(nodes.summary)
    assert panel.defend.useButton.enabled
    panel.defend.useButton.click()
    assert set(panel.network.entry().channels) == {"T1", "T1ce", "T2", "FLAIR"} and panel.state.settings.network == str(folder)
    waitUntil(slicerHost, lambda: panel.run.segmentButton.enabled, "the trained network could segment")
    click(slicerHost, panel, panel.run.segmentButton)
    assert not messages(), messages()
    assert latest(SegmentationNodes).summary == "network"
    panel.state.change(network="builtin:brain-tumour-phantom")


def _epochs() -> int:
    from SegAdversarialLib.scene import FigureNodes, find_runs

    found = [x for x in find_runs() if isinstance(x, FigureNodes)]
    return found[-1].table.GetNumberOfRows() if found else 0


def test_cancelling_keeps_the_last_checkpoint_and_training_goes_on(slicerHost: Any, panel: Any, tmp_path: Path) -> None:
    from SegAdversarialLib.scene import FigureNodes

    folder = tmp_path / "network"
    choose(panel, folder, trainFrom="loaded", recipe="standard", trainingSettings={"epochs": 500})
    assert "few" in panel.defend.cases.note.text
    panel.defend.trainButton.click()
    count = _runs()
    waitUntil(slicerHost, lambda: _runs() > count and _epochs() > 1, "there were epochs")
    panel.run.cancelButton.click()
    finish(slicerHost, panel)
    assert not messages() and "goes on from there" in panel.run.message.text and str(folder) in panel.run.message.text
    reached = _epochs()
    assert panel.defend.useButton.enabled and (folder / "checkpoint.pt").is_file()
    panel.state.change(trainingSettings={"epochs": reached + 1})
    click(slicerHost, panel, panel.defend.trainButton)
    assert not messages(), messages()
    nodes = latest(FigureNodes)
    assert nodes.table.GetNumberOfRows() == reached + 1
    for name in ("checkpoint.pt", "model.safetensors"):
        (folder / name).unlink()
    run(read_job(folder / "job.json").model_copy(update={"settings": {"epochs": 1}}))
    assert (folder / "model.safetensors").is_file(), "the job can be run again after the scene's files are gone"
    shutil.rmtree(folder)
    panel.refresh()
    assert not panel.defend.useButton.enabled


def _runs() -> int:
    from SegAdversarialLib.scene import find_runs

    return len(find_runs())


def test_a_wrong_folder_is_one_sentence(slicerHost: Any, panel: Any, tmp_path: Path) -> None:
    choose(panel, tmp_path / "network", trainFrom="folder", trainCases=str(tmp_path / "nowhere"))
    assert not panel.defend.trainButton.enabled and "nowhere" in panel.defend.trainButton.toolTip
    (tmp_path / "empty").mkdir()
    panel.state.change(trainCases=str(tmp_path / "empty"))
    before = sceneState()
    click(slicerHost, panel, panel.defend.trainButton)
    (message,) = messages()
    assert "no case" in message.text and "Traceback" not in message.text
    messages().clear()
    assert sceneState() == before and not (tmp_path / "network").exists()
    panel.state.change(trainFolder=str(Path(__file__)))
    assert not panel.defend.trainButton.enabled and "is a file" in panel.defend.trainButton.toolTip


def test_synthetic_subjects_are_named_for_the_library(panel: Any) -> None:
    from SegAdversarialLib import cohorts

    panel.state.change(trainFrom="synthetic", trainSubjects=3, trainSize=40)
    found = cohorts.find(panel.defend.training().cohort)
    assert len(found) == 3 and {x.phantom.shape for x in found.entries if x.phantom} == {(40, 40, 40)}


def test_choices_come_back_with_the_scene(slicerHost: Any, panel: Any, tmp_path: Path) -> None:
    import slicer

    from SegAdversarialLib.scene import FigureNodes, find_runs, write_scene

    choose(panel, tmp_path / "network", trainFrom="synthetic", trainSubjects=5, trainSize=64, recipe="adversarial-training")
    panel.state.change(auditSettings={"effort": "quick"}, certifySettings={"n": 30})
    panel.defend.recipeForm.editors["epsilon"].widget.setValue(0.01)
    wanted = panel.state.settings
    assert wanted.recipeSettings["adversarial-training"] == {"epsilon": 0.01}
    runs = [x.run for x in find_runs() if isinstance(x, FigureNodes)]
    path = write_scene(tmp_path / "saved.mrb")
    slicer.mrmlScene.Clear(0)
    slicerHost.processEvents(0.1)
    slicer.util.loadScene(str(path))
    slicerHost.processEvents(0.2)
    assert panel.state.settings == wanted
    assert [x.run for x in find_runs() if isinstance(x, FigureNodes)] == runs and runs
    assert panel.defend.recipeForm.editors["epsilon"].value() == 0.01 and panel.defend.cases.subjects.value == 5
    assert panel.run.checks.certify.editors["n"].value() == 30
