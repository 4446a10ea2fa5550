"""Auto3DSeg's SegResNet: what its configuration says becomes settings, and what is pickled beside it never runs."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import ROOT

from SegAdversarialLib import InputError, Preprocessing, open_model
from SegAdversarialLib.formats import auto3dseg, describe_file
from SegAdversarialLib.formats.bundle_config import Config
from SegAdversarialLib.formats.plain_pickle import plain_checkpoint
from SegAdversarialLib.model.normalization import normalize

KEPT = ROOT / "Testing" / "networks" / "auto3dseg"
CONFIG: dict[str, Any] = {
    "modality": "mri",
    "input_channels": 2,
    "output_classes": 3,
    "roi_size": [24, 24, 24],
    "class_names": ["oedema", "core"],
    "network": {"_target_": "SegResNetDS", "in_channels": 2, "out_channels": 3},
}


def said(**changes: Any) -> dict[str, Any]:
    return auto3dseg.settings_of(Config({**CONFIG, **changes}, "model.pt"))[0]


def test_it_says_how_it_is_asked() -> None:
    for path in (KEPT, KEPT / "model" / "model.pt"):
        known = describe_file(path, channels=["FLAIR"])
        assert "MONAI Auto3DSeg (SegResNetDS, 1 channel(s), 3 outputs)" in known.content and not known.needs_trust
        assert [x.name for x in known.classes] == ["background", "oedema", "core"]
    model = open_model(KEPT, device="cpu")
    assert (model.channels, model.window, model.windows.overlap) == (("CT",), (24, 24, 24), 0.625)
    assert (model.preprocessing.spacing_kept, model.preprocessing.restores) == ((0.75, 1.25), "probabilities")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"crop": {"kind": "foreground", "margin": [10] * 3}}),
        ({"crop_foreground": False, "orientation_ras": True}, {"orientation": "RAS"}),
        ({"crop_foreground": False, "resample": True, "resample_resolution": [1, 1, 2]}, {"spacing": [1.0, 1.0, 2.0]}),
        ({"extra_modalities": {"pet": "none"}}, {}),
    ],
)
def test_steps(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    steps = said(**changes)["preprocessing"]
    assert expected.items() <= steps.items() and ("crop" in steps) == ("crop" in expected)
    assert Preprocessing(**steps)


@pytest.mark.parametrize("mode", ["range", "meanstd", "meanstdtanh", "none"])
def test_intensities(mode: str) -> None:
    """As the formulas say that Auto3DSeg documents, with their gradient."""
    steps = Preprocessing(**said(normalize_mode=mode, intensity_bounds=[-100, 300])["preprocessing"])
    volume = (200 * torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))).requires_grad_(True)
    scores = (volume - volume.mean()) / volume.std(correction=0)
    expected = {
        "range": torch.sigmoid((volume + 100) / 400 * 2 - 1),
        "meanstd": scores,
        "meanstdtanh": 3 * torch.tanh(scores / 3),
        "none": volume,
    }[mode]
    found = normalize(volume, steps.normalization)
    torch.testing.assert_close(found, expected)
    weights = torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pulled = [torch.autograd.grad((x * weights).sum(), volume, retain_graph=True)[0] for x in (found, expected)]
    torch.testing.assert_close(*pulled)


def test_regions_cover_what_class_index_says() -> None:
    settings = said(sigmoid=True, output_classes=2, class_index=[[1, 2], [2]])
    assert settings["head"] == "sigmoid"
    assert [(x["label"], x["stands_for"]) for x in settings["classes"]] == [(1, [1, 2]), (2, [2])]
    assert "classes" not in said(class_names=["acc_0", "acc_1"]) and "channels" not in said()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"custom_data_transforms": [{"key": "x"}]}, "custom_data_transforms"),
        ({"normalize_mode": "pet"}, 'normalize_mode "pet"'),
        ({"roi_size": "$__import__('os').system('touch canary')"}, "roi_size is the expression"),
        ({"normalize_mode": "range", "intensity_bounds": [5, 5]}, "intensity_bounds"),
    ],
)
def test_what_cannot_be_said(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        said(**changes)


class Touching:
    """What a hostile checkpoint would do."""

    def __reduce__(self) -> Any:
        return Path.touch, (Path("canary"),)


@pytest.mark.parametrize("place", ["config", "state_dict", "beside"])
def test_nothing_pickled_runs(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    held: dict[str, Any] = {"state_dict": {}, "config": dict(CONFIG), "beside": 1}
    held[place] = Touching() if place != "config" else {**CONFIG, "channels": Touching()}
    with zipfile.ZipFile("model.pt", "w") as archive:
        archive.writestr("model/data.pkl", pickle.dumps(held, 2))
        archive.writestr("model/version", "3\n")
    found = plain_checkpoint(Path("model.pt"))
    assert found is not None and found["beside"] != Touching
    with pytest.raises(InputError):
        open_model("model.pt", device="cpu", channels=["a", "b"])
    assert not Path("canary").exists()
