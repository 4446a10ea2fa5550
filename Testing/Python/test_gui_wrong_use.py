"""Wrong use: one message that says what to do, and a scene that is as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gui_helpers import _panel, click, finish, messages, openModule, sceneState, waitUntil  # noqa: F401  (a fixture)
from safetensors.numpy import save_file


@pytest.fixture(autouse=True)
def _as_before(slicerHost: Any, panel: Any) -> Iterator[None]:
    volumes, reference = dict(panel.images.volumes()), panel.state.reference
    yield
    panel.state.change(
        network="builtin:brain-tumour-phantom", networkSettings="", attack="fgsm", attackSettings={}, region="",
        regionSegment="",
    )  # fmt: skip
    for channel, node in volumes.items():
        panel.state.setChannelNode(channel, node)
    panel.state.reference = reference
    panel.state.region = None
    slicerHost.processEvents(0.05)
    messages().clear()


def oneMessage(host: Any, panel: Any, *words: str) -> str:
    """Press Attack: one message with these words, and nothing else happens."""
    before = sceneState()
    panel.attackNow()
    finish(host, panel)
    assert sceneState() == before
    (message,) = messages()
    assert message.kind == "error" and not message.detailedText, message
    for word in words:
        assert word in message.text, message.text
    return str(message.text)


def test_no_volume(slicerHost: Any, panel: Any) -> None:
    panel.state.setChannelNode("T2", None)
    assert not panel.run.attackButton.enabled and not panel.run.segmentButton.enabled
    assert "T2" in panel.run.attackButton.toolTip and "T1ce" not in panel.run.attackButton.toolTip
    oneMessage(slicerHost, panel, "T2")


def test_a_volume_on_another_grid(slicerHost: Any, panel: Any) -> None:
    import slicer

    other = slicer.util.addVolumeFromArray(np.zeros((20, 30, 40), np.int16), name="shifted T2")
    panel.state.setChannelNode("T2", other)
    assert "shifted T2" in panel.run.attackButton.toolTip
    oneMessage(slicerHost, panel, "shifted T2", "Resample")
    panel.state.setChannelNode("T2", None)
    slicer.mrmlScene.RemoveNode(other)


def test_an_empty_segment_as_region(slicerHost: Any, panel: Any) -> None:
    import slicer

    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawing")
    segment = node.GetSegmentation().AddEmptySegment("hole", "hole")
    panel.state.region = node
    panel.state.change(region="node", regionSegment=segment)
    oneMessage(slicerHost, panel, "hole", "empty")
    slicer.mrmlScene.RemoveNode(node)


def test_no_reference(slicerHost: Any, panel: Any) -> None:
    panel.state.reference = None
    assert not panel.run.attackButton.enabled and panel.run.segmentButton.enabled
    assert "reference" in panel.run.attackButton.toolTip and "prediction" in panel.run.attackButton.toolTip
    oneMessage(slicerHost, panel, "reference")


def writeSettings(path: Path, channels: list[str], classes: list[Any]) -> None:
    """The JSON file of a small MONAI network."""
    arguments = {"spatial_dims": 3, "in_channels": len(channels), "out_channels": 2, "channels": [4, 8], "strides": [2]}
    network = {"name": "UNet", "arguments": arguments}
    path.write_text(json.dumps({"format": "monai", "network": network, "channels": channels, "classes": classes}))


def test_a_network_with_other_channels(slicerHost: Any, panel: Any, tmp_path: Path) -> None:
    path = tmp_path / "ct.safetensors"
    save_file({"of": np.zeros(1)}, path)
    writeSettings(path.with_suffix(".json"), ["CT"], ["background", "liver"])
    panel.state.change(network=str(path))
    slicerHost.processEvents(0.05)
    assert not panel.run.attackButton.enabled and "CT" in panel.run.attackButton.toolTip
    oneMessage(slicerHost, panel, "CT")


def test_a_corrupt_network_file(slicerHost: Any, panel: Any, tmp_path: Path) -> None:
    path = tmp_path / "broken.safetensors"
    tumour = {"label": 1, "name": "tumour", "stands_for": [1, 2, 4]}
    writeSettings(path.with_suffix(".json"), ["T1", "T1ce", "T2", "FLAIR"], [{"label": 0, "name": "background"}, tumour])
    path.write_bytes(b"garbage")
    panel.state.change(network=str(path))
    slicerHost.processEvents(0.05)
    told = " ".join(panel.run.attackButton.toolTip.split())
    assert not panel.run.attackButton.enabled and "broken.safetensors is a text file" in told
    save_file({"of": np.zeros(1)}, path)  # whole, but the weights of something else: that shows when it is opened
    panel.network.refresh()
    slicerHost.processEvents(0.05)
    assert panel.run.attackButton.enabled, panel.run.attackButton.toolTip
    oneMessage(slicerHost, panel, "broken.safetensors")


def test_a_network_file_that_is_not_there(slicerHost: Any, panel: Any, tmp_path: Path) -> None:
    panel.state.change(network=str(tmp_path / "gone.ts"))
    slicerHost.processEvents(0.05)
    assert not panel.run.segmentButton.enabled and "gone.ts" in panel.run.segmentButton.toolTip


def test_a_temporary_folder_that_cannot_be_written_to(slicerHost: Any, panel: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file, not a folder")
    before = panel.logic.runner._temporaryPath
    panel.logic.runner._temporaryPath = lambda: str(tmp_path / "file")
    try:
        oneMessage(slicerHost, panel, str(tmp_path / "file"), "Settings")
    finally:
        panel.logic.runner._temporaryPath = before


def test_a_setting_out_of_its_bounds(slicerHost: Any, panel: Any) -> None:
    panel.state.changeAttack("fgsm", {"epsilon": 2.0})
    assert not panel.run.attackButton.enabled and "Epsilon is 2.0" in panel.run.attackButton.toolTip
    oneMessage(slicerHost, panel, "Epsilon is 2.0")


def test_the_console_says_the_same(slicerHost: Any, panel: Any) -> None:
    from SegAdversarial import SegAdversarialLogic
    from SegAdversarialLib.errors import InputError

    logic, volumes = SegAdversarialLogic(), dict(panel.images.volumes())
    before = sceneState()
    with pytest.raises(InputError, match="FLAIR"):
        logic.segment({channel: x for channel, x in volumes.items() if channel != "FLAIR"})
    with pytest.raises(InputError, match="takes 4 channels"):
        logic.segment(list(volumes.values())[:2])
    with pytest.raises(InputError, match="no attack"):
        logic.attack(volumes, attack="magic")
    with pytest.raises(InputError, match="nowhere"):
        logic.segment(volumes, model="nowhere.ts")
    assert sceneState() == before


def test_the_console_can_say_what_segments_are(slicerHost: Any, panel: Any) -> None:
    import slicer

    from SegAdversarialLib.errors import InputError

    logic, volumes, named = panel.logic, dict(panel.images.volumes()), panel.state.reference
    segments = named.GetSegmentation()
    segment = segments.GetSegment(segments.GetNthSegmentID(0))
    before = segment.GetName()
    segment.SetName("lesion A")
    try:
        with pytest.raises(InputError, match="lesion A"):
            logic.segment(volumes, reference=named)
        for key in ("lesion A", segments.GetNthSegmentID(0)):
            nodes = logic.segment(volumes, reference=named, labelNames={key: before})
            assert "Dice" in {nodes.table.GetColumnName(n) for n in range(nodes.table.GetNumberOfColumns())}
    finally:
        segment.SetName(before)
    assert slicer.mrmlScene.IsNodePresent(named)
