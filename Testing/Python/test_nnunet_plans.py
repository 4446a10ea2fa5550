"""What nnU-Net's plans say, in the words of our settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nnunet_helpers import CONFIGURATION, DATASET, PLANS, plans_with, write_checkpoint, write_folder

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.nnunet import describe
from SegAdversarialLib.formats.settings import ModelSettings


@pytest.fixture
def said(tmp_path: Path) -> Any:
    """Plans, dataset and what else stands in a checkpoint, as settings that a network takes."""

    def read(plans: Any = PLANS, dataset: Any = DATASET, **others: Any) -> ModelSettings:
        return ModelSettings(**described(plans, dataset, **others).settings)

    def described(plans: Any = PLANS, dataset: Any = DATASET, **others: Any) -> Any:
        found = describe(write_checkpoint(tmp_path / "checkpoint_final.pth", plans, dataset, **others))
        assert found is not None
        return found

    read.described = described  # type: ignore[attr-defined]
    return read


def test_axes_are_those_after_the_transpose(said) -> None:
    """transpose_forward [2, 0, 1] of (slice, row, column): the network sees columns first."""
    settings = said(inference_allowed_mirroring_axes=(0, 2))
    steps = settings.preprocessing
    assert (steps.axes, settings.window, settings.mirror) == ("ikj", (12, 40, 32), "ij")
    assert steps.spacing == (5.0, 1.5, 1.0)
    assert (steps.orientation, steps.order) == (None, ("crop", "normalize", "resample"))
    assert (steps.crop.kind, steps.restores, steps.grid) == ("nonzero", "logits", "extent")
    assert (settings.overlap, settings.window_places, settings.outputs, settings.head) == (0.5, "even", "logits", "softmax")
    cubic, linear = steps.resampling, steps.output_resampling
    assert (cubic.order, cubic.order_through, cubic.anisotropy, cubic.clip) == (3, 0, 3.0, True)
    assert (linear.order, linear.order_through, linear.anisotropy) == (1, 0, 3.0)


def test_slices_keep_their_distance_in_2d(said) -> None:
    plans = plans_with("2d", patch_size=[64, 48], spacing=[1.0, 1.5])
    settings = said(plans, configuration="2d", inference_allowed_mirroring_axes=(0, 1))
    assert (settings.preprocessing.axes, settings.preprocessing.spacing) == ("kj", (None, 1.5, 1.0))
    assert (settings.window, settings.mirror) == ((64, 48), "kj")


@pytest.mark.parametrize("axes", [None, ()])
def test_no_mirroring(said, axes) -> None:
    assert said(inference_allowed_mirroring_axes=axes).mirror == ""


def test_regions_are_written_in_their_order(said) -> None:
    labels = {"background": 0, "whole": [1, 2, 3], "enhancing": 3, "core": [1, 3], "ignore": 4}
    settings = said(dataset=DATASET | {"labels": labels, "regions_class_order": [2, 3, 1]})
    assert [(x.label, x.name, x.stands_for) for x in settings.classes] == [
        (2, "whole", (1, 2, 3)),
        (3, "enhancing", (3,)),
        (1, "core", (1, 3)),
    ]
    assert (settings.head, settings.painting) == ("sigmoid", "in order")


def test_no_output_stands_for_the_ignored_label(said) -> None:
    labels = {"tumour": [2], "background": 0, "ignore": 3, "liver": 1}
    settings = said(dataset=DATASET | {"labels": labels})
    assert [(x.label, x.name) for x in settings.classes] == [(0, "background"), (1, "liver"), (2, "tumour")]


@pytest.mark.parametrize(
    "scheme, masked, expected",
    [
        ("ZScoreNormalization", True, {"kind": "zscore", "mask": "filled"}),
        ("ZScoreNormalization", False, {"kind": "zscore", "mask": "all"}),
        ("CTNormalization", False, {"kind": "window", "lower": -10.0, "upper": 90.0, "mean": 50.0, "std": 20.0}),
        ("NoNormalization", False, {"kind": "window", "lower": None, "upper": None, "mean": 0.0, "std": 1.0}),
        ("RescaleTo01Normalization", False, {"kind": "rescale", "low": 0.0, "high": 100.0, "clip": False}),
        ("RGBTo01Normalization", False, {"kind": "window", "lower": None, "mean": 0.0, "std": 255.0}),
    ],
)
@pytest.mark.parametrize("properties", ["per_channel", "by_modality"])
def test_normalisation(said, scheme, masked, expected, properties) -> None:
    plans = plans_with(normalization_schemes=[scheme], use_mask_for_norm=[masked])
    numbers = plans.pop("foreground_intensity_properties_per_channel")
    settings = said(plans | {f"foreground_intensity_properties_{properties}": numbers})
    assert expected.items() <= settings.preprocessing.normalization[0].model_dump().items()


@pytest.mark.parametrize(
    "reader, orientation, warns",
    [
        ("SimpleITKIO", None, False),
        ("NibabelIO", None, False),
        ("NibabelIOWithReorient", "RAS", False),
        ("SimpleITKIOWithReorient", "RAS", False),
        ("NaturalImage2DIO", None, True),
        ("SomebodysReader", None, True),
    ],
)
def test_readers(said, reader, orientation, warns) -> None:
    found = said.described(PLANS | {"image_reader_writer": reader})
    assert found.settings["preprocessing"].get("orientation") == orientation
    assert any(reader in x for x in found.warnings) == warns


def test_a_configuration_inherits(said) -> None:
    plans = plans_with()
    plans["configurations"]["3d_large"] = {"inherits_from": "3d_fullres", "patch_size": [24, 80, 64]}
    plans["configurations"]["3d_larger"] = {"inherits_from": "3d_large", "batch_size": 4}
    settings = said(plans, configuration="3d_larger")
    assert (settings.window, settings.preprocessing.spacing) == ((24, 80, 64), (5.0, 1.5, 1.0))


@pytest.mark.parametrize(
    "how, data, expected",
    [
        ({"force_separate_z": False}, "resample_data_or_seg_to_shape", (3, None, 3.0, True)),
        ({}, "resample_data_or_seg_to_shape", (3, None, 3.0, True)),
        ({"force_separate_z": True}, "resample_data_or_seg_to_shape", (3, 0, 1.000001, True)),
        ({"force_separate_z": None, "order": 1}, "resample_data_or_seg_to_shape", (1, 0, 3.0, True)),
        ({"is_seg": False}, "resample_torch_fornnunet", (1, 0, 3.0, False)),
    ],
)
def test_resampling(said, how, data, expected) -> None:
    found = said(plans_with(resampling_fn_data=data, resampling_fn_data_kwargs=how)).preprocessing.resampling
    assert (found.order, found.order_through, found.anisotropy, found.clip) == expected


def test_nothing_is_resampled(said) -> None:
    steps = said(plans_with(resampling_fn_data="no_resampling_hack", resampling_fn_data_kwargs={})).preprocessing
    assert steps.spacing is None


def test_channels_that_bear_one_name(said) -> None:
    both = plans_with(normalization_schemes=["NoNormalization"] * 3, use_mask_for_norm=[False] * 3)
    found = said.described(both, DATASET | {"channel_names": {"0": "noNorm", "2": "nonorm", "1": "CT"}})
    assert found.settings["channels"] == ["noNorm 1", "CT", "nonorm 3"]
    assert "noNorm 1, CT, nonorm 3" in found.warnings[0]


def test_older_files_call_channels_modality(said) -> None:
    dataset = {key: value for key, value in DATASET.items() if key != "channel_names"}
    assert said(dataset=dataset | {"modality": {"0": "CT"}}).channels == ("CT",)


@pytest.mark.parametrize(
    "plans, dataset, sentence",
    [
        (plans_with(previous_stage="3d_lowres"), DATASET, r"second stage of a cascade .* first \(3d_lowres\)"),
        (plans_with(normalization_schemes=["Mine"]), DATASET, r"normalises the channel T1 .* \(Mine\)"),
        (plans_with(resampling_fn_data="mine"), DATASET, r"resamples in a way that is not known here \(mine\)"),
        (plans_with(resampling_fn_probabilities="no_resampling_hack"), DATASET, "both must be resampled"),
        (plans_with(preprocessor_name="Mine"), DATASET, r"a preprocessing of its own \(Mine\)"),
        (plans_with(inherits_from="3d_fullres"), DATASET, "3d_fullres inherits from itself"),
        (PLANS | {"configurations": {"2d": CONFIGURATION}}, DATASET, "no configuration 3d_fullres; they have 2d"),
        (PLANS | {"configurations": []}, DATASET, "no configuration 3d_fullres; they have none"),
        (PLANS | {"transpose_forward": [0, 1, 7]}, DATASET, "plans of .* are damaged"),
        (plans_with(patch_size="large"), DATASET, "plans of .* are damaged"),
        (plans_with(normalization_schemes=["CTNormalization"], other={"foreground_intensity_properties_per_channel": {}}),
         DATASET, "plans of .* are damaged"),
        (PLANS, {"labels": {"background": 0, "liver": 1}}, "dataset.json of .* needs channel_names"),
        (PLANS, DATASET | {"labels": ["liver"]}, "dataset.json of .* needs channel_names and labels"),
        (PLANS, DATASET | {"labels": {"background": 0, "liver": 5}}, r"labels of .* \[0, 5\]; nnU-Net counts them"),
        (PLANS, DATASET | {"labels": {"background": 0, "a": [1, 2], "b": 2}}, "dataset.json of .* is damaged"),
        (PLANS, DATASET | {"labels": {"background": 0, "a": [1, 2], "b": 2}, "regions_class_order": [1, 1]},
         r"writes the labels \[1, 1\] for them"),
    ],
)  # fmt: skip
def test_what_is_damaged_or_not_known_is_said(said, plans, dataset, sentence) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        said.described(plans, dataset)
    assert str(caught.value).count("\n") == 0


def test_totalsegmentators_are_turned_and_not_mirrored(tmp_path: Path) -> None:
    found = describe(write_checkpoint(tmp_path / "a.pth", PLANS | {"dataset_name": "Dataset297_TotalSegmentator_total_3mm"}))
    home = tmp_path / ".totalsegmentator" / "nnunet" / "results" / "Dataset775_head_492subj"
    write_folder(home / "nnUNetTrainer_NoMirroring__nnUNetPlans__3d_fullres")
    other = describe(home.parent)
    assert found is not None and other is not None
    for x in (found, other):
        assert (x.settings["preprocessing"]["orientation"], x.settings["mirror"]) == ("RAS", "")
        assert "TotalSegmentator resamples images" in x.warnings[-1]
