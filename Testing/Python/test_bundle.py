"""MONAI bundles as people have them: what they say becomes settings, and what could do harm is refused by its name."""

from __future__ import annotations

import json
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.transforms import MedianSmooth, ScaleIntensity

from SegAdversarialLib import Case, InputError, Preprocessing, objectives, open_model
from SegAdversarialLib.formats import bundle, describe_file
from SegAdversarialLib.formats.settings import ModelSettings

UNET = {"_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "channels": [4, 8], "strides": [2]}
FORMS = {
    "inputs": {"image": {"num_channels": 1, "channel_def": {"0": "image"}, "spatial_shape": ["8*n", "8*n", "8*n"]}},
    "outputs": {"pred": {"num_channels": 2, "channel_def": {"0": "background", "1": "spleen"}}},
}


def t(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": name, "keys": "image", **arguments}


def after(name: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": name, "keys": "pred", **arguments}


Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a bundle's folder from what is not as usual in it."""

    def made(before: Any = (), post: Any = (), metadata: dict[str, Any] | None = None, **entries: Any) -> Path:
        folder = tmp_path / "net"
        (folder / "configs").mkdir(parents=True)
        (folder / "models").mkdir()
        config = {
            "network_def": UNET,
            "network": "$@network_def.to(@device)",
            "preprocessing": {"_target_": "Compose", "transforms": list(before)},
            "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16]},
            "postprocessing": {"_target_": "Compose", "transforms": list(post)},
            **entries,
        }
        (folder / "configs" / "inference.json").write_text(json.dumps({k: x for k, x in config.items() if x is not None}))
        (folder / "configs" / "metadata.json").write_text(json.dumps({"network_data_format": FORMS, **(metadata or {})}))
        from monai.networks.nets import UNet

        torch.manual_seed(0)
        network = UNet(3, 1, 2, (4, 8), (2,))
        torch.save(network.state_dict(), folder / "models" / "model.pt")
        return folder

    return made


def said(folder: Path) -> dict[str, Any]:
    """What the bundle's preprocessing is, without what is as usual."""
    found = bundle.describe(folder)
    assert found is not None and ModelSettings(**found.settings)
    steps = found.settings["preprocessing"]
    assert steps.pop("axes") == "ijk"
    return steps


def test_it_opens(make: Make) -> None:
    model = open_model(make([t("ScaleIntensityd")], [after("Activationsd", softmax=True), after("AsDiscreted", argmax=True)]))
    assert (model.channels, model.head.names, model.window) == (("image",), ("background", "spleen"), (16, 16, 16))
    assert (model.windows.overlap, model.windows.blending) == (0.25, "constant")


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ([t("LoadImaged"), t("EnsureChannelFirstd"), t("EnsureTyped", dtype="$torch.float32")], {}),
        ([t("Orientationd", axcodes="LAS")], {"orientation": "LAS"}),
        ([t("Spacingd", pixdim=[1.5, 1.5, -1])], {"spacing": [1.5, 1.5, None], "grid": "centers"}),
        ([t("Spacingd", pixdim=2, mode=["bilinear"])], {"spacing": [2.0, 2.0, 2.0], "grid": "centers"}),
        (
            [t("Spacingd", pixdim=[2, 2, 4], min_pixdim=[1.5, 1.5, 3], max_pixdim=[2.5, 2.5, 5])],
            {"spacing": [2.0, 2.0, 4.0], "grid": "centers", "spacing_kept": [0.75, 1.25]},
        ),
        ([t("Resized", spatial_size=[8, 9, 10], mode="trilinear")], {"size": [8, 9, 10]}),
        (
            [t("NormalizeIntensityd", nonzero=True)],
            {"normalization": {"kind": "zscore", "mask": "nonzero", "background": 0.0}},
        ),
        ([t("NormalizeIntensityd")], {"normalization": {"kind": "zscore"}}),
        ([t("NormalizeIntensityd", subtrahend=5, divisor=2)], {"normalization": {"kind": "window", "mean": 5.0, "std": 2.0}}),
        (
            [t("ScaleIntensityRanged", a_min=-100, a_max=300, b_min=0, b_max=1, clip=True)],
            {"normalization": {"kind": "window", "mean": -100.0, "std": 400.0, "lower": -100.0, "upper": 300.0}},
        ),
        ([t("ScaleIntensityRanged", a_min=0, a_max=2)], {"normalization": {"kind": "window", "mean": 0.0, "std": 2.0}}),
        ([t("ScaleIntensityd")], {"normalization": {"kind": "rescale"}}),
        (
            [t("ScaleIntensityd", minv=None, maxv=None, factor=1)],
            {"normalization": {"kind": "window", "mean": 0.0, "std": 0.5}},
        ),
        (
            [t("ScaleIntensityRangePercentilesd", lower=1, upper=99, b_min=0, b_max=1, clip=True)],
            {"normalization": {"kind": "rescale", "low": 1.0, "high": 99.0, "clip": True}},
        ),
        ([t("ThresholdIntensityd", threshold=3, cval=3)], {"normalization": {"kind": "window", "lower": 3.0}}),
        ([t("ResizeWithPadOrCropd", spatial_size=[8, 8, 8])], {"crop": {"kind": "center", "size": [8, 8, 8]}}),
        ([t("SpatialPadd", spatial_size=24)], {"crop": {"kind": "center", "size": [24, 24, 24], "only": "pad"}}),
        ([t("CenterSpatialCropd", roi_size=[8, 8, 8])], {"crop": {"kind": "center", "size": [8, 8, 8], "only": "crop"}}),
        (
            [t("CropForegroundd", source_key="image", margin=[1, 2, 3], k_divisible=4, select_fn="$lambda x: x > -500")],
            {"crop": {"kind": "foreground", "above": -500.0, "margin": [1, 2, 3], "multiple": 4, "padded": True}},
        ),
        (
            [t("CropForegroundd", source_key="image", margin=10, allow_smaller=True)],
            {"crop": {"kind": "foreground", "above": 0.0, "margin": [10, 10, 10], "multiple": 1}},
        ),
        (
            [t("NormalizeIntensityd"), t("ScaleIntensityd", minv=-1, maxv=1), t("Spacingd", pixdim=[1, 1, 1])],
            {
                "normalization": {
                    "kind": "chain",
                    "steps": [{"kind": "zscore"}, {"kind": "rescale"}, {"kind": "window", "mean": 0.5, "std": 0.5}],
                },
                "spacing": [1.0, 1.0, 1.0],
                "grid": "centers",
                "order": ["normalize", "resample", "crop"],
            },
        ),
    ],
)
def test_transforms_in_our_words(make: Make, before: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    steps = said(make(before))
    normalization = steps.get("normalization", {})
    for wanted, found in ((expected.get("normalization", {}), normalization),):
        assert {k: x for k, x in found.items() if not isinstance(x, float)} == {
            k: x for k, x in wanted.items() if not isinstance(x, float)
        }
        for name, number in wanted.items():
            if isinstance(number, float):
                assert found[name] == pytest.approx(number)
    assert {k: x for k, x in steps.items() if k != "normalization"} == {
        k: x for k, x in expected.items() if k != "normalization"
    }
    assert Preprocessing(**steps)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (t("scripts.own.Magicd"), "scripts.own.Magicd, Python code that comes with the bundle"),
        (t("os.system"), "os.system, Python code"),
        (t("RandGaussianNoised"), "RandGaussianNoised, cannot be said here"),
        (t("GaussianSmoothd", sigma=[1, 2, 3]), "must be single numbers"),
        (t("Lambdad", func="$open('canary', 'w')"), "Lambdad, cannot be said here"),
        (t("Orientationd", axcodes="$__import__('os').system('touch canary')"), "axcodes is the expression"),
        (t("Spacingd", pixdim=[1, 1, 1], mode="bicubic"), "mode bicubic has no counterpart"),
        (t("Spacingd", pixdim=[1, 1, 1], diagonal=True), "diagonal must be False"),
        (t("Spacingd", pixdim=[1, 1, 2], min_pixdim=[0.5, 0.9, 1]), "same share of pixdim"),
        (t("Resized", spatial_size=[8, 8, 8]), 'mode "area" has no counterpart'),
        (t("CropForegroundd", source_key="mask"), "something other than the image"),
        (t("CropForegroundd", source_key="image", select_fn="$lambda x: x.touch()"), "select_fn must be of the form"),
        (t("ScaleIntensityRanged", a_min=1, a_max=1), "are the same number"),
        (t("ScaleIntensityRanged", a_min=1, a_max=0), "turns intensities round"),
        (t("ThresholdIntensityd", threshold=3), "intensities jump"),
        (t("CastToTyped", dtype="$torch.uint8"), "whole numbers"),
    ],
)
def test_transforms_that_cannot_be_said(
    make: Make, transform: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        open_model(make([transform]))
    assert not (tmp_path / "canary").exists()


def test_what_has_no_gradient_is_done_as_it_is(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """With a warning; the network sees what MONAI makes of the image, and gradients go past it."""
    model = open_model(make([t("MedianSmoothd", radius=1), t("ScaleIntensityd")], inferer={"_target_": "SimpleInferer"}))
    assert "MedianSmoothd has no gradient here" in caplog.text
    image = np.random.default_rng(0).normal(100, 20, (1, 8, 16, 8)).astype(np.float32)
    case = Case(image, ["image"], np.eye(4))
    expected = ScaleIntensity()(MedianSmooth(radius=1)(torch.from_numpy(image))).permute(0, 3, 2, 1)
    torch.testing.assert_close(model.prepare(case), torch.as_tensor(expected).as_subclass(torch.Tensor))
    _, gradient = model.value_and_gradient(case, objectives.CrossEntropy(np.ones(case.shape, np.int16)))
    assert np.isfinite(gradient).all() and gradient.any()


def test_numbers_over_all_channels_at_once(make: Make) -> None:
    """Each channel is treated by itself here: what MONAI finds over all of them is said no other way."""
    folder = make([t("ScaleIntensityd")], network_def={**UNET, "in_channels": 2})
    with pytest.raises(InputError, match="takes 2 channels together"):
        bundle.describe(folder)


@pytest.mark.parametrize(
    ("post", "expected"),
    [
        (["soft", "invert", "argmax"], {"restores": "probabilities"}),
        (["invert", "soft", "argmax"], {}),
        (["soft", "argmax", "nearest"], {"output_resampling": {"order": 0}}),
        (["soft", "nearest", "argmax"], {"output_resampling": {"order": 0}}),
        (["argmax", "invert"], {"output_resampling": {"order": 0}}),
        (["soft", "argmax"], {"output_resampling": {"order": 0}}),
        ([], {}),
    ],
)
def test_what_is_brought_back(make: Make, post: list[str], expected: dict[str, Any]) -> None:
    steps = {
        "soft": after("Activationsd", softmax=True),
        "argmax": after("AsDiscreted", argmax=True),
        "invert": after("Invertd", transform="@preprocessing", orig_keys="image", nearest_interp=False),
        "nearest": after("Invertd", transform="@preprocessing", orig_keys="image"),
    }
    found = said(make([t("Spacingd", pixdim=[1, 1, 1])], [steps[x] for x in post]))
    assert {k: x for k, x in found.items() if k not in ("spacing", "grid")} == expected


WHERE = "$lambda x: torch.where(x[[2]] > 0, 4, torch.where(x[[0]] > 0, 1, torch.where(x[[1]] > 0, 2, 0)))"


@pytest.mark.parametrize("function", [WHERE, None, "$lambda x: x.sum(0)", "$open('canary', 'w')"])
def test_regions_and_their_values(make: Make, function: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A painting function is read, never run; without one, BraTS' names say it."""
    monkeypatch.chdir(tmp_path)
    names = {"0": "Tumor core", "1": "Whole tumor", "2": "Enhancing tumor"}
    outputs = {"pred": {"num_channels": 3, "channel_def": names}}
    post = [after("Activationsd", sigmoid=True), after("AsDiscreted", threshold=0.3)]
    post += [after("Lambdad", func=function)] if function else []
    folder = make([], post, {"network_data_format": {**FORMS, "outputs": outputs}}, network_def={**UNET, "out_channels": 3})
    found = bundle.describe(folder)
    assert found is not None and (found.settings["head"], found.settings["threshold"]) == ("sigmoid", 0.3)
    classes = [(x["label"], tuple(x["stands_for"])) for x in found.settings["classes"]]
    assert classes == [(1, (1, 4)), (2, (1, 2, 4)), (4, (4,))]
    assert bool(found.warnings) == (function not in (WHERE, None))
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    ("inferer", "expected"),
    [
        ({"_target_": "SimpleInferer"}, {"size_multiple": 8}),
        (
            {"_target_": "SlidingWindowInferer", "roi_size": 16, "mode": "gaussian"},
            {"window": [16] * 3, "blending": "gaussian"},
        ),
        ({"_target_": "SlidingWindowInferer", "roi_size": [-1, -1, -1], "overlap": 0.5}, {"overlap": 0.5}),
        (
            {"_target_": "monai.inferers.SlidingWindowInfererAdapt", "roi_size": [8, 8, 8], "overlap": [0.1] * 3},
            {"overlap": 0.1},
        ),
    ],
)
def test_windows(make: Make, inferer: dict[str, Any], expected: dict[str, Any]) -> None:
    found = bundle.describe(make(inferer=inferer))
    assert found is not None and expected.items() <= found.settings.items() and not found.warnings


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"network_def": {**UNET, "_target_": "scripts.net.Own"}}, "scripts.net.Own, Python code of the bundle's own"),
        ({"network_def": {**UNET, "_target_": "subprocess.Popen"}}, "subprocess.Popen, Python code"),
        (
            {"network_def": {**UNET, "_target_": "monai.networks.nets.CellSamWrapper"}},
            "none of MONAI's networks for segmentation",
        ),
        ({"network_def": {**UNET, "act": {"_target_": "torch.nn.ReLU"}}}, "argument act is made by torch.nn.ReLU"),
        ({"network_def": {**UNET, "channels": "$open('canary', 'w')"}}, "network_def::channels is the expression"),
        ({"network_def": "$monai.networks.nets.UNet(3)"}, "network_def is the expression"),
        ({"network_def": {**UNET, "nonsense": 1}}, "arguments of the MONAI network UNet do not fit"),
        ({"inferer": {"_target_": "scripts.own.Inferer"}}, "scripts.own.Inferer, Python code"),
        ({"inferer": {"_target_": "SaliencyInferer"}}, "SaliencyInferer, which asks the network in a manner"),
        ({"inferer": {"_target_": "SlidingWindowInferer", "roi_size": [8, 8, -1]}}, "each above 0"),
        ({"inferer": "text"}, "no component with a _target_"),
        (
            {"checkpointloader": {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/../../x.pt'"}},
            "outside of its",
        ),
        ({"checkpointloader": {"_target_": "CheckpointLoader", "load_path": "/etc/passwd"}}, "outside of its folder"),
        ({"checkpointloader": {"_target_": "CheckpointLoader", "load_path": "models/other.pt"}}, "has no models/other.pt"),
        ({"postprocessing": {"_target_": "Compose", "transforms": [after("scripts.own.Post")]}}, "scripts.own.Post"),
        ({"postprocessing": {"_target_": "Compose", "transforms": ["$print"]}}, "is the expression"),
    ],
)
def test_what_else_is_refused(
    make: Make, entries: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message) as refused:
        open_model(make(**entries), trust=True)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "canary").exists()


def test_what_is_not_asked_for_may_be_anything(make: Make) -> None:
    folder = make(
        imports=["$import os"], handlers=["$open('x')"], initialize=["$x()"], datalist="$glob.glob('*')", run=["$y()"]
    )
    assert not describe_file(folder).needs_trust


def test_names_that_are_missing(make: Make) -> None:
    """Nobody names the outputs: the sentence says how many there are, and the user's words take their place."""
    folder = make(metadata={"network_data_format": {}})
    with pytest.raises(InputError, match="channels and classes"):
        describe_file(folder)
    known = describe_file(folder, channels=["CT"], classes={"0": "background", "1": "spleen"})
    assert known.channels == ("CT",) and "UNet, 1 channel(s), 2 outputs" in known.content


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("../evil", {}, "leads out of the archive's folder"),
        ("/etc/evil", {}, "outside of the archive's folder"),
        ("net/link", {"external_attr": (stat.S_IFLNK | 0o777) << 16}, "a link to somewhere else"),
        ("net/bomb", {"size": 80_000_000}, "is a bomb"),
    ],
)
def test_hostile_archives(make: Make, name: str, change: dict[str, int], message: str, tmp_path: Path) -> None:
    folder, path = make(), tmp_path / "net.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(x for x in folder.rglob("*") if x.is_file()):
            archive.write(file, file.relative_to(tmp_path))
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = change.get("external_attr", 0)
        archive.writestr(info, b"\0" * change.get("size", 4))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message):
        open_model(path)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("form", ["empty", "cut", "text"])
def test_damaged_weights(make: Make, form: str) -> None:
    folder = make()
    weights = folder / "models" / "model.pt"
    whole = weights.read_bytes()
    weights.write_bytes(
        {"empty": b"", "cut": whole[: len(whole) // 2], "text": b"version https://git-lfs.github.com/spec/v1\n"}[form]
    )
    with pytest.raises(InputError, match="model.pt"):
        open_model(folder)


def test_texts_as_windows_programs_write_them(make: Make) -> None:
    """A byte-order mark and CRLF are read; UTF-16 is refused with what would be right."""
    folder = make()
    plain = describe_file(folder).channels
    for name in ("inference.json", "metadata.json"):
        path = folder / "configs" / name
        text = json.dumps(json.loads(path.read_text()), indent=1).replace("\n", "\r\n")
        path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert describe_file(folder).channels == describe_file(folder / "configs" / "inference.json").channels == plain
    path.write_bytes(text.encode("utf-16"))
    with pytest.raises(InputError, match="metadata.json is no text in UTF-8; save it as UTF-8"):
        describe_file(folder)


def test_folders_that_lack_something(make: Make, tmp_path: Path) -> None:
    folder = make()
    (folder / "configs" / "inference.json").unlink()
    with pytest.raises(InputError, match="has no configs/inference.json"):
        describe_file(folder)
    (folder / "models" / "model.pt").unlink()
    (folder / "large_files.yml").write_text("large_files: []")
    (folder / "configs" / "inference.json").write_text(json.dumps({"network_def": UNET}))
    with pytest.raises(InputError, match="download it as its large_files.yml says"):
        describe_file(folder)
