"""Networks of nnU-Net and MONAI bundles, attacked through the panel with its real worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_helpers import EPSILON, NETWORKS, files_for
from gui_helpers import _clean, click, messages, openModule  # noqa: F401  (a fixture)


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
