"""Opening network files: what they need, what is refused, and that nothing in them runs unasked."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import tiny_network, toy_case
from monai.networks.nets import UNet

from SegAdversarialLib import InputError, open_model
from SegAdversarialLib.formats import describe_file

UNET: dict[str, Any] = {"spatial_dims": 3, "in_channels": 2, "out_channels": 3, "channels": [4, 8], "strides": [2]}
SETTINGS: dict[str, Any] = {"channels": ["A", "B"], "classes": ["background", "core", "rim"]}


def scripted(folder: Path) -> Path:
    path = folder / "net.ts"
    torch.jit.script(tiny_network().float()).save(str(path))
    return path


def monai_file(folder: Path, weights: str = "net.safetensors") -> tuple[Path, torch.nn.Module]:
    torch.manual_seed(3)
    network = UNet(**UNET)
    if weights.endswith(".safetensors"):
        safetensors.torch.save_file(network.state_dict(), str(folder / weights))
    else:
        torch.save({"epoch": 3, "state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, folder / weights)
    settings = {**SETTINGS, "format": "monai", "network": {"name": "UNet", "arguments": UNET}, "weights": weights}
    (folder / "net.json").write_text(json.dumps({**settings, "size_multiple": 2, "window": [8, 8, 8]}))
    return folder / "net.json", network


def test_torchscript_needs_trust(tmp_path: Path) -> None:
    path = scripted(tmp_path)
    with pytest.raises(InputError, match="net.ts is a TorchScript file.*trust"):
        open_model(path, **SETTINGS)
    model = open_model(path, trust=True, device="cpu", **SETTINGS)
    case = toy_case()
    with torch.no_grad():
        expected = tiny_network().float()(torch.from_numpy(case.image)[None])[0].numpy()
    np.testing.assert_allclose(model.logits(case), expected, rtol=1e-4, atol=1e-3)


def test_settings_beside_the_file_and_from_the_caller(tmp_path: Path) -> None:
    path = scripted(tmp_path)
    with pytest.raises(InputError, match="not known which channels and classes"):
        open_model(path, trust=True)
    core = {"label": 7, "name": "core", "stands_for": [1, 2]}
    classes = [{"label": 0, "name": "background"}, core, {"label": 4, "name": "rim"}]
    (tmp_path / "net.json").write_text(json.dumps({"channels": ["T2", "T1"], "classes": classes, "overlap": 0.25}))
    model = open_model(path, trust=True)
    assert model.channels == ("T2", "T1") and model.head.labels == (0, 7, 4) and model.windows.overlap == 0.25
    assert model.head.regions == ((0,), (1, 2), (4,))
    changed = open_model(path, trust=True, channels=["A", "B"], preprocessing={"orientation": "LPS"})
    assert changed.channels == ("A", "B") and changed.preprocessing.orientation == "LPS" and changed.head.labels == (0, 7, 4)
    (tmp_path / "other.json").write_text(json.dumps({**SETTINGS, "window": [4, 4, 4]}))
    assert open_model(path, trust=True, settings=tmp_path / "other.json").window == (4, 4, 4)


@pytest.mark.parametrize("weights", ["net.safetensors", "net.pt"])
def test_monai_networks(weights: str, tmp_path: Path) -> None:
    path, network = monai_file(tmp_path, weights)
    case = toy_case((8, 8, 8))
    for opened in (path, tmp_path / weights):
        model = open_model(opened, device="cpu")
        with torch.no_grad():
            expected = network.eval()(torch.from_numpy(case.image)[None])[0].numpy()
        np.testing.assert_allclose(model.logits(case), expected, rtol=1e-4, atol=1e-2)


class Exploit:
    """A pickle that runs a command when it is opened carelessly."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("trust", [True, False])
def test_nothing_in_a_checkpoint_runs(trust: bool, tmp_path: Path) -> None:
    path, network = monai_file(tmp_path, "net.pt")
    marker = tmp_path / "ran"
    torch.save({"state_dict": network.state_dict(), "extra": Exploit(marker)}, tmp_path / "net.pt")
    with pytest.raises(InputError, match="holds more than weights"):
        open_model(path, trust=trust)
    assert not marker.exists()


def test_what_is_refused(tmp_path: Path) -> None:
    path, network = monai_file(tmp_path)
    settings = json.loads(path.read_text())

    def changed(**changes: Any) -> Path:
        file = tmp_path / "changed.json"
        file.write_text(json.dumps({key: value for key, value in {**settings, **changes}.items() if value is not None}))
        return file

    (tmp_path / "broken.safetensors").write_bytes(b"not weights")
    (tmp_path / "bad.ts").write_bytes(b"not a program")
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "picture.png").write_bytes(b"png")
    (tmp_path / "text.pt").write_text("no weights at all")
    torch.save({1: torch.zeros(1)}, tmp_path / "numbers.pt")
    narrow = {**UNET, "channels": [4, 6]}
    refused = [
        (lambda: open_model(tmp_path / "none.ts"), "no network file"),
        (lambda: open_model("builtin:none"), "no built-in network"),
        (lambda: open_model(tmp_path / "bad.ts", trust=True, **SETTINGS), "bad.ts is a text file"),
        (lambda: open_model(tmp_path / "broken.json"), "no readable JSON"),
        (lambda: open_model(tmp_path / "picture.png"), "picture.png is a text file"),
        (lambda: open_model(path, settings=tmp_path / "none.json"), "no settings file"),
        (lambda: open_model(changed(weights="broken.safetensors")), "broken.safetensors is a text file"),
        (lambda: open_model(changed(weights="none.safetensors")), "no weights file"),
        (lambda: open_model(changed(network=None)), "name the MONAI architecture"),
        (lambda: open_model(changed(network={"name": "os"})), 'no network "os"'),
        (lambda: open_model(changed(network={"name": "UNet", "arguments": {"depth": 3}})), "arguments of the MONAI network"),
        (lambda: open_model(changed(network={"name": "UNet", "arguments": narrow})), "do not belong to this UNet"),
        (lambda: open_model(changed(windows=[4, 4, 4])), "no setting windows"),
        (lambda: open_model(changed(overlap=1.5)), "overlap"),
        (lambda: open_model(changed(window=[4, 4])), "window must be 3 sizes"),
        (lambda: open_model(changed(preprocessing={"orientation": "XYZ"})), "orientation"),
        (lambda: open_model(path, device="abacus"), "no kind of device"),
        (lambda: open_model(tmp_path / ("x" * 300)), "no network file"),
        (lambda: open_model(changed(weights="text.pt")), "text.pt is a text file"),
        (lambda: open_model(changed(weights="numbers.pt")), "no weights by name"),
        (lambda: open_model(changed(network={"name": "UNet", "arguments": {**UNET, "spatial_dims": 4}})), "arguments of"),
        (lambda: open_model(changed(network={"name": "HoVerNet", "arguments": {"pretrained_url": "x"}})), "from elsewhere"),
        (lambda: open_model(changed(classes=[{"label": 1, "name": "a"}, {"label": 1, "name": "b"}])), "label of its own"),
    ]
    for call, message in refused:
        with pytest.raises(InputError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_the_named_weights_file_is_the_one_that_is_opened(tmp_path: Path) -> None:
    path, network = monai_file(tmp_path)
    other = UNet(**UNET)
    safetensors.torch.save_file(other.state_dict(), str(tmp_path / "other.safetensors"))
    model = open_model(tmp_path / "other.safetensors", settings=path, device="cpu")
    assert torch.equal(next(model.network.parameters()), next(other.parameters()))


def test_sigmoid_outputs_in_a_list_count_from_one(tmp_path: Path) -> None:
    model = open_model(scripted(tmp_path), trust=True, channels=["A", "B"], classes=["TC", "WT", "ET"], head="sigmoid")
    assert model.head.labels == (1, 2, 3)


def test_a_network_is_described_without_opening_it(tmp_path: Path) -> None:
    path, network = monai_file(tmp_path)
    for file in (path, tmp_path / "net.safetensors", tmp_path):
        found = describe_file(file)
        assert (found.name, found.channels, found.head, found.window) == ("net", ("A", "B"), "softmax", (8, 8, 8))
        assert [(x.label, x.name, x.stands_for) for x in found.classes][1:] == [(1, "core", (1,)), (2, "rim", (2,))]
        assert found.size_bytes == (tmp_path / "net.safetensors").stat().st_size and not found.needs_trust
        assert set(found.files) == {path, tmp_path / "net.safetensors"}
        assert found.output_head() == open_model(file, device="cpu").head
    builtin = describe_file("builtin:brain-tumour-phantom")
    assert builtin.name == "builtin:brain-tumour-phantom" and "must not be used on patients" in builtin.description
    assert builtin.preprocessing.orientation == "LPS" and builtin.output_head().labels == (0, 1, 2, 4)


def test_describing_runs_nothing_and_needs_no_trust(tmp_path: Path) -> None:
    size = scripted(tmp_path).stat().st_size
    found = describe_file(tmp_path / "net.ts", **SETTINGS, head="sigmoid")
    assert found.needs_trust and found.size_bytes == size and [x.label for x in found.classes] == [1, 2, 3]
    assert found.content == "a TorchScript file"
    (tmp_path / "broken.json").write_text("[" * 100_000)
    refused = [
        (lambda: describe_file(tmp_path / "none.ts"), "no network file"),
        (lambda: describe_file("builtin:none"), "no built-in network"),
        (lambda: describe_file(tmp_path / "net.ts"), r"channels and classes .*net\.ts has.*\(--model-channels, --classes\)"),
        (lambda: describe_file(tmp_path / "net.ts", channels=("T1",)), r"which classes .*net\.ts has.* \(--classes\)"),
        (lambda: describe_file(tmp_path / "net.ts", **SETTINGS, windows=(1,)), "no setting windows"),
        (lambda: describe_file(tmp_path / "net.ts", settings=tmp_path / "broken.json"), "no readable JSON"),
        (lambda: describe_file(tmp_path / "broken.json"), "no readable JSON"),
        (lambda: describe_file(tmp_path / "net.ts", **{**SETTINGS, "classes": ["one"]}), "at least two classes"),
        (
            lambda: describe_file(tmp_path / "net.ts", **SETTINGS, format="monai"),
            "a TorchScript file, but its settings say",
        ),
    ]
    for call, message in refused:
        with pytest.raises(InputError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_the_one_network_in_a_folder(tmp_path: Path) -> None:
    def refused(message: str) -> None:
        for call in (describe_file, open_model):
            with pytest.raises(InputError, match=message):
                call(tmp_path)

    refused(r"holds no network \(found: no files\).* TorchScript file, or the files of nnU-Net or of a MONAI bundle would be")
    (tmp_path / "notes.json").write_text('["of somebody"]')
    (tmp_path / "a.txt").write_text("else's")
    (tmp_path / "deeper").mkdir()
    scripted(tmp_path / "deeper")
    refused(r"holds no network \(found: a.txt, notes.json\)")
    scripted(tmp_path)
    refused("not known which channels")  # the single program is the one, though nothing is known of it
    assert describe_file(tmp_path, **SETTINGS).file == tmp_path / "net.ts"
    monai_file(tmp_path)  # net.json now names a network with weights; net.ts is another export of it
    safetensors.torch.save_file({"x": torch.zeros(1)}, str(tmp_path / "epoch3.safetensors"))
    assert describe_file(tmp_path).file == tmp_path / "net.json"
    assert open_model(tmp_path, device="cpu").name == "net"
    scripted(tmp_path).rename(tmp_path / "other.ts")
    (tmp_path / "other.json").write_text(json.dumps(SETTINGS))
    refused(r"holds 2 networks \(net.json, other.ts\)")
    (tmp_path / "net.json").unlink()
    assert open_model(tmp_path, trust=True, device="cpu").name == "other"
    with pytest.raises(InputError, match="other.ts is a TorchScript file"):
        open_model(tmp_path)
