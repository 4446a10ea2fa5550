"""Files of networks as they should not be: each opens rightly, or is refused in a sentence that says what would open it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from monai.networks.nets import UNet
from nnunet_helpers import DATASET, plans_with, write_checkpoint

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats import describe_file, open_model
from SegAdversarialLib.formats.unopened import NotOpened

ARGUMENTS: dict[str, Any] = {"spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2]}
SETTINGS: dict[str, Any] = {
    "network": {"name": "UNet", "arguments": ARGUMENTS},
    "channels": ["T1"],
    "classes": ["background", "tumour"],
    "weights": "model.pt",
}
IMAGE = torch.rand(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(1))


def unet() -> UNet:
    torch.manual_seed(0)
    return UNet(**ARGUMENTS).eval()


def described(folder: Path, **changes: Any) -> Path:
    (folder / "model.json").write_text(json.dumps(SETTINGS | changes))
    return folder / "model.json"


def write(folder: Path, change: Callable[[torch.Tensor], torch.Tensor]) -> Path:
    torch.save({name: change(x) for name, x in unet().state_dict().items()}, folder / "model.pt")
    return described(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.to_sparse(), r"a sparse tensor as model.* save it with to_dense"),
        (lambda x: x.to("meta"), r"no numbers, but a shape alone .* save the network after its weights were loaded"),
        (lambda x: (100 * x).to(torch.int8), r"numbers of the type int8 as model.* before they were quantised"),
        (lambda x: x > 0, r"numbers of the type bool as model"),
        (lambda x: x.to(torch.complex64), r"numbers of the type complex64 as model"),
    ],
)
def test_weights_that_are_no_plain_numbers_are_refused(
    change: Callable[[torch.Tensor], torch.Tensor], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        open_model(write(tmp_path, change), device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:.*quantize")
@pytest.mark.filterwarnings("ignore:TypedStorage")
def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path, lambda x: torch.quantize_per_tensor(x, 0.01, 0, torch.qint8))
    with pytest.raises(InputError, match="quantised numbers as model.* save the network that was not quantised yet"):
        open_model(path, device="cpu")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_real_numbers_of_other_sizes_open(dtype: torch.dtype, tmp_path: Path) -> None:
    found = open_model(write(tmp_path, lambda x: x.to(dtype)), device="cpu").network.state_dict()
    for name, x in unet().state_dict().items():
        assert found[name].dtype == x.dtype and torch.equal(found[name], x.to(dtype).to(x.dtype))


def test_the_content_counts_and_not_the_ending(tmp_path: Path) -> None:
    torch.save(unet().state_dict(), tmp_path / "model.safetensors")
    safetensors.torch.save_file(unet().state_dict(), str(tmp_path / "model.pt"))
    for name in ("model.safetensors", "model.pt"):
        network = open_model(described(tmp_path, weights=name), device="cpu").network
        assert torch.equal(network(IMAGE), unet()(IMAGE))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: {f"net_{name}": y for name, y in x.items()}, "check the network's name and its arguments"),
        (lambda x: x | {"auxiliary.weight": torch.ones(3)}, "1 of its 9 are not the network's .* check the network's name"),
        (lambda x: [x], r"holds no weights by name .* torch.save\(network.state_dict\(\), FILE\)"),
    ],
)
def test_weights_of_other_names(change: Callable[[dict[str, Any]], Any], message: str, tmp_path: Path) -> None:
    torch.save(change(unet().state_dict()), tmp_path / "model.pt")
    with pytest.raises(InputError, match=message):
        open_model(described(tmp_path), device="cpu")


@pytest.mark.parametrize("name", ["unet", "monai.networks.nets.UNet", "Unnet"])
def test_an_architecture_nearly_named(name: str, tmp_path: Path) -> None:
    write(tmp_path, lambda x: x)
    path = described(tmp_path, network={"name": name, "arguments": ARGUMENTS})
    with pytest.raises(InputError, match=rf'no network "{name}"; the nearest name is UNet\.'):
        open_model(path, device="cpu")
    path = described(tmp_path, network={"name": "Transformer9000", "arguments": ARGUMENTS})
    with pytest.raises(InputError, match="there are LiuUNet3D, .* and those of MONAI, such as UNet"):
        open_model(path, device="cpu")


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "with a byte-order mark"])
def test_settings_as_windows_programs_write_them(mark: bytes, ends: str, tmp_path: Path) -> None:
    write(tmp_path, lambda x: x)
    text = json.dumps(SETTINGS, indent=1).replace("\n", ends)
    for name in ("model.json", "model.pt.json"):
        (tmp_path / "model.json").unlink(missing_ok=True)
        (tmp_path / name).write_bytes(mark + text.encode())
        for given in (tmp_path / name, tmp_path / "model.pt", tmp_path):
            assert describe_file(given).channels == ("T1",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (json.dumps(SETTINGS).encode("utf-16"), "is no text in UTF-8; give a JSON file in UTF-8"),
        (json.dumps(SETTINGS | {"description": "T\u00fcm\u00f6r"}, ensure_ascii=False).encode("latin-1"), "no text in UTF-8"),
        (b"// mine\n" + json.dumps(SETTINGS).encode(), "JSON has no comments, so take them out"),
        (b"# mine\n{}", "JSON has no comments"),
        (json.dumps(SETTINGS).replace('"', "'").encode(), "no readable JSON .*double quotes"),
        (b"", "no readable JSON"),
    ],
)
def test_settings_that_are_no_json(content: bytes, message: str, tmp_path: Path) -> None:
    write(tmp_path, lambda x: x).write_bytes(content)
    with pytest.raises(InputError, match=f"model.json .*{message}"):
        describe_file(tmp_path / "model.json")


def test_weights_in_several_files_are_known_and_not_taken_for_several_networks(tmp_path: Path) -> None:
    names = list(unet().state_dict())
    for part, some in enumerate((names[:4], names[4:]), 1):
        own = {x: unet().state_dict()[x] for x in some}
        safetensors.torch.save_file(own, str(tmp_path / f"model-{part:05d}-of-00002.safetensors"))
    with pytest.raises(NotOpened, match=r"part 2 of a network's weights in 2 files; join them: safetensors\.torch"):
        describe_file(tmp_path / "model-00002-of-00002.safetensors")
    with pytest.raises(NotOpened, match=r"a folder with a network's weights in 2 files; join them"):
        describe_file(tmp_path)


class LabelMap(torch.nn.Module):
    """A network that decides by itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, -x], 1).argmax(1)


class TwoInputs(torch.nn.Module):
    """A network that wants more than the image."""

    def forward(self, x: torch.Tensor, distance: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, distance], 1)


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (LabelMap(), "it seems to give a label map, so save it without its argmax or threshold"),
        (TwoInputs(), "it wants more than the image, so save it in a module that takes the image alone"),
    ],
)
def test_programs_of_another_kind(network: torch.nn.Module, message: str, tmp_path: Path) -> None:
    from SegAdversarialLib import Case

    torch.jit.script(network).save(str(tmp_path / "net.ts"))
    model = open_model(
        tmp_path / "net.ts", trust=True, device="cpu", channels=["T1"], classes=["background", "tumour"], window=[8, 8, 8]
    )
    case = Case(IMAGE[0].numpy(), ["T1"], torch.eye(4, dtype=torch.float64).numpy())
    with pytest.raises(InputError, match=message):
        model.segment(case)


@pytest.mark.parametrize(
    ("plans", "dataset", "message"),
    [
        (plans_with(other={"transpose_forward": [0, 0, 1]}), DATASET, r"transpose_forward is \[0, 0, 1\], which is no order"),
        (
            plans_with(),
            DATASET | {"channel_names": {"0": "CT", "1": "PET"}},
            r"for 1 channel.* names 2 \(CT, PET\)",
        ),
        (plans_with(), DATASET | {"labels": {"background": 0, "a": 1, "b": 5}}, r"^The labels of .* are \[0, 1, 5\]"),
        (plans_with(normalization_schemes=["Mine"]), DATASET, r"^\S* normalises the channel T1 in a way that is not known"),
    ],
)
def test_what_nnunets_files_cannot_say_is_told_once(
    plans: dict[str, Any], dataset: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        describe_file(write_checkpoint(tmp_path / "net.pth", plans, dataset))
    assert "Error(" not in str(caught.value) and "NotSupported" not in str(caught.value)
