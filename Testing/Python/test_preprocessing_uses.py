"""Who else meets crops and splines: attacks, ensembles, training, settings files, networks of one size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_network
from test_preprocessing_order import NNUNET, head_in_air

from SegAdversarialLib import Case, InputError, Preprocessing, SegmentationModel, attacks, ensemble
from SegAdversarialLib.formats.settings import ModelSettings
from SegAdversarialLib.training.samples import sample_of
from SegAdversarialLib.training.task import Task


def model_for(
    settings: dict[str, Any], channels: tuple[str, ...] = ("A", "B"), seed: int = 0, **more: Any
) -> SegmentationModel:
    network = tiny_network(len(channels), seed=seed)
    classes = ["no", "core", "rim"]
    steps = Preprocessing(**settings)
    return SegmentationModel.from_network(network, channels=channels, classes=classes, preprocessing=steps, **more)


@pytest.mark.parametrize("region", [True, False])
def test_an_attack_goes_through_it_all(region: bool) -> None:
    """Steps in the head alone keep the crop; steps everywhere fill the air, and the crop becomes the volume."""
    case = head_in_air(spacing=(1, 1, 1.5))
    model = model_for({**NNUNET, "spacing": (1.2, 1.2, 1.2)}, window=(8, 8, 8))
    mask = (case.image != 0).all(0) if region else None
    attack = attacks.PGD(epsilon=0.1, steps=3, against="prediction", region=mask, random_start=not region)
    result = attack(model, case)
    rows = result.trace
    assert rows[-1]["loss"] > rows[0]["loss"]
    shapes = [model.prepare(x).shape for x in (case, result.adversarial)]
    assert (shapes[0] == shapes[1]) == region
    if region:
        assert not (result.adversarial.image != case.image)[:, ~mask].any()


def test_members_may_have_their_channels_in_another_order() -> None:
    def member(channels: tuple[str, ...], seed: int, looks_at: int) -> SegmentationModel:
        crop = {"kind": "foreground", "above": 200, "channels": (looks_at,)}
        return model_for({**NNUNET, "crop": crop}, channels, seed)

    first, second = member(("A", "B"), 0, 1), member(("B", "A"), 1, 0)
    case = head_in_air()
    chances = [torch.from_numpy(x.logits(case)).softmax(0) for x in (first, second)]
    found = torch.from_numpy(ensemble([first, second]).logits(case)).softmax(0)
    torch.testing.assert_close(found, (chances[0] + chances[1]) / 2, atol=1e-6, rtol=1e-5)
    with pytest.raises(InputError, match="agree in their crop"):
        ensemble([first, member(("B", "A"), 1, 1)])


@pytest.mark.parametrize("orientation", [None, "LPS"])
def test_training_shows_what_the_network_will_see(orientation: str | None) -> None:
    case = head_in_air(spacing=(1, 1, 1.5))
    settings = {**NNUNET, "spacing": (1.0, 1.0, 1.0), "orientation": orientation}
    named = Case(case.image, case.channels, case.affine, case.label, label_names={0: "no", 1: "rim", 2: "core"}, name="x")
    sample = sample_of(named, Task.of(named, {"preprocessing": Preprocessing(**settings)}))
    model = model_for(settings)
    np.testing.assert_allclose(sample.image.numpy(), model.prepare(case).numpy(), atol=1e-4)
    assert sample.targets.shape[1:] == sample.image.shape[1:] and sample.spacing == pytest.approx((1, 1, 1), rel=0.1)
    back = model.preprocessing.on_grid(case.shape, case.affine).on_image(list(torch.from_numpy(case.image)))
    labels = back.restore(sample.targets.double(), (1.0, 0.0, 0.0)).argmax(0).numpy()
    assert (labels == case.label).mean() > 0.97


def test_settings_files_say_it() -> None:
    wanted = {**NNUNET, "spacing": (1, None, 1.5), "crop": {"kind": "center", "size": (8, None, 9), "only": "pad"}}
    settings = ModelSettings(preprocessing=wanted)
    again = ModelSettings.model_validate_json(settings.model_dump_json())
    assert again.preprocessing == Preprocessing(**wanted)


def test_channels_that_there_are_not() -> None:
    with pytest.raises(InputError, match="place 2, counted from 0; the network has 2"):
        model_for({"crop": {"kind": "foreground", "channels": (0, 2)}})


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"size": (8, 9, 10)}, (8, 9, 10)),
        ({"size": (8, 9, 10), "crop": {"kind": "nonzero"}}, (8, 9, 10)),
        ({"size": (8, 9, 10), "crop": {"kind": "nonzero"}, "order": ("resample", "crop", "normalize")}, None),
        ({"crop": {"kind": "center", "size": (8, 9, 10)}}, (8, 9, 10)),
        ({"crop": {"kind": "center", "size": (8, 9, 10)}, "spacing": (1, 1, 2)}, None),
        ({"crop": {"kind": "center", "size": (8, None, 10)}}, None),
        ({"crop": {"kind": "center", "size": (8, 9, 10), "only": "pad"}}, None),
        ({"crop": {"kind": "center", "size": (6, 6, 6)}, "size": (8, 9, 10)}, (8, 9, 10)),
    ],
)
def test_networks_of_one_size_are_asked_at_it(settings: dict[str, Any], size: tuple[int, ...] | None) -> None:
    preprocessing = Preprocessing(axes="ijk", **settings)
    assert preprocessing.fixed_size == size
    case = head_in_air()
    shape = preprocessing.on_grid(case.shape, case.affine).on_image(list(torch.from_numpy(case.image))).network_shape
    assert size is None or shape == size


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"order": ("crop", "crop", "normalize")}, "once each"),
        ({"crop": {"kind": "magic"}}, "'nonzero', 'foreground', 'center'"),
        ({"crop": {"kind": "center", "size": (0, 1, 1)}}, "at least 1 voxel, or null"),
        ({"crop": {"kind": "center"}}, "crop.center.size: it is missing"),
        ({"crop": {"kind": "foreground", "margin": (0, -1, 0)}}, "at least 0 voxels"),
        ({"crop": {"kind": "foreground", "channels": (-1,)}}, "count from 0"),
        ({"resampling": {"order": 2}}, "0, 1 or 3"),
        ({"resampling": {"anisotropy": 1}}, "above 1"),
        ({"grid": "centers", "size": (8, 8, 8)}, "about a spacing"),
        ({"spacing_kept": (0.5, 2)}, "about a spacing"),
        ({"spacing": (1, 1, 1), "spacing_kept": (2, 0.5)}, "the smaller first"),
        ({"spacing": (1, 0, None)}, "above 0 mm, or null"),
        ({"normalization": {"kind": "chain", "steps": ()}}, "1 or more"),
        ({"normalization": {"kind": "chain", "steps": ({"kind": "chain", "steps": ()},)}}, "'zscore'"),
    ],
)
def test_wrong_settings_say_what_would_be_right(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as caught:
        Preprocessing(**settings)
    assert str(caught.value).count("\n") == 0
