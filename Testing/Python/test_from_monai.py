"""`SegmentationModel.from_network` with what users of MONAI hold: its networks in any mode, wrapped, with transforms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from monai import transforms
from monai.networks import nets

from SegAdversarialLib import Case, InputError, Preprocessing, SegmentationModel

SIZE = 16


def unet(dimensions: int = 3, **more: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return nets.UNet(dimensions, 1, 2, (4, 8), (2,), **more)


def wrapped(network: torch.nn.Module, **more: Any) -> SegmentationModel:
    return SegmentationModel.from_network(network, channels=["CT"], classes=["background", "liver"], **more)


def case(slices: int = SIZE) -> Case:
    image = np.random.default_rng(0).normal(size=(1, slices, SIZE, SIZE)).astype(np.float32)
    return Case(image, ("CT",), np.eye(4))


NETWORKS: dict[str, Callable[[], torch.nn.Module]] = {
    "in training mode, with batch norms and dropout": lambda: unet(norm="BATCH", dropout=0.5).train(),
    "of several heads": lambda: nets.DynUNet(
        3, 1, 2, [3] * 3, [1, 2, 2], [2, 2], filters=[4, 8, 8], deep_supervision=True, deep_supr_num=1
    ).train(),
    "SegResNetDS": lambda: nets.SegResNetDS(init_filters=4, in_channels=1, out_channels=2, dsdepth=2).train(),
    "data parallel": lambda: torch.nn.DataParallel(unet()),
    "averaged": lambda: torch.optim.swa_utils.AveragedModel(unet()),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_networks_as_they_come_out_of_a_training(kind: str) -> None:
    """The answer is that of the network in evaluation mode, and it stays in the mode that it was in."""
    torch.manual_seed(0)
    network = NETWORKS[kind]()
    mode, subject = network.training, case()
    model = wrapped(network)
    found = model.logits(subject)
    assert network.training == mode
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(subject.image)[None])
    expected = expected[0] if isinstance(expected, (list, tuple)) else expected
    np.testing.assert_allclose(found, expected[0].numpy(), rtol=1e-4, atol=1e-5)


def test_preprocessing_by_the_names_of_its_settings() -> None:
    said = {"orientation": "RAS", "normalization": {"kind": "zscore", "mask": "nonzero"}}
    assert wrapped(unet(), preprocessing=said).preprocessing == Preprocessing(**said)
    with pytest.raises(InputError, match="Preprocessing: there is no setting orientaton; the nearest name is orientation"):
        wrapped(unet(), preprocessing={"orientaton": "RAS"})


@pytest.mark.parametrize("given", [transforms.Compose([]), transforms.Compose([transforms.NormalizeIntensity()])])
def test_transforms_of_monai_are_no_preprocessing(given: Any) -> None:
    with pytest.raises(InputError, match="it is a Compose: say what its transforms do in these settings, or .* MONAI bundle"):
        wrapped(unet(), preprocessing=given)


def test_a_network_for_slices_without_its_axes() -> None:
    with pytest.raises(InputError, match=r'a network for slices wants preprocessing with two axes \(axes="ji"\)'):
        wrapped(unet(2)).segment(case(2))
    assert wrapped(unet(2), preprocessing={"axes": "ji"}).segment(case(2)).shape == (2, SIZE, SIZE)
