"""Networks of nnU-Net and MONAI bundles in the panel, and attacked through it with its real worker."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_helpers import EPSILON, NETWORKS, files_for
from gui_helpers import _clean, click, messages, openModule  # noqa: F401  (a fixture)
from hostile_helpers import packed
from nnunet_helpers import DATASET, write_folder
from test_gui_network import Stage, _stage  # noqa: F401  (a fixture)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nnunet-regions", "monai-softmax"])
def test_through_the_panel(name: str, slicerHost: Any, clean: Any, tmp_path: Path) -> None:
    """A user loads images and a folder, and presses Attack; the result is on the image's own grid, within its budget."""
    import slicer

    files = files_for(name, tmp_path / "case")
    panel = openModule()
    panel.state.change(network=str(NETWORKS / name))
    for channel, path in files.items():
        panel.images._selectors[channel].setCurrentNode(slicer.util.loadVolume(str(path)))
    panel.state.change(attack="fgsm")
    panel.state.changeAttack("fgsm", {"against": "prediction", "epsilon": EPSILON})
    slicerHost.processEvents(0.2)
    click(slicerHost, panel, panel.run.attackButton)
    assert not messages(), messages()
    from SegAdversarialLib.scene import find_results

    nodes = find_results()[-1]
    before = {channel: slicer.util.arrayFromVolume(x) for channel, x in panel.images.volumes().items()}
    for channel, volume in nodes.adversarial.items():
        change = np.abs(slicer.util.arrayFromVolume(volume) - before[channel]).max()
        assert 0 < change <= EPSILON * np.abs(before[channel]).max() * (1 + 1e-5)
    (expected,) = {x.shape for x in before.values()}
    said = slicer.util.arrayFromVolume(next(iter(nodes.adversarial.values())))
    assert said.shape == expected and len(nodes.clean.GetSegmentation().GetSegmentIDs()) >= 1


def test_an_archive_of_nnunets_in_the_panel(stage: Stage, tmp_path: Path) -> None:
    """Of several networks in it one is typed; another archive of this name is noticed."""
    folder = write_folder(tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres")
    archive = packed(folder, tmp_path / "exported.zip")
    stage.open(archive)
    assert stage.section.entry().content == "a network trained with nnU-Net (3d_fullres, fold 0) in a zip archive"
    assert "*.zip" in " ".join(stage.find("networkFileLine").nameFilters)
    write_folder(tmp_path / "nnUNetTrainer__nnUNetPlans__2d")
    with zipfile.ZipFile(archive, "a") as opened:
        for path in sorted(x for x in (tmp_path / "nnUNetTrainer__nnUNetPlans__2d").rglob("*") if x.is_file()):
            opened.write(path, f"Dataset011_Liver/{path.relative_to(tmp_path).as_posix()}")
    stage.section.refresh()
    assert "holds 2 networks of nnU-Net" in stage.section.problem()
    inside = archive / "Dataset011_Liver" / folder.name
    assert "give one of them, such as" in stage.section.problem() and str(inside.parent) in stage.section.problem()
    stage.open(inside)
    assert stage.section.problem() == "" and stage.section.entry().channels == ("T1",)
    assert stage.section.source()["path"] == str(inside)
    packed(write_folder(folder, dataset=DATASET | {"channel_names": {"0": "CT"}}), archive)
    stage.section.refresh()
    assert stage.section.entry().channels == ("CT",)
