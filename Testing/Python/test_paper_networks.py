"""The papers' networks: parameters, blocks and shapes counted by hand, any size, opened by name beside MONAI's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import toy_case

from SegAdversarialLib import InputError, attacks, open_model
from SegAdversarialLib.formats.monai_network import architecture
from SegAdversarialLib.formats.settings import NetworkSettings
from SegAdversarialLib.networks.cascaded_unet import ChengCascadedUNet
from SegAdversarialLib.networks.liu_unet import LiuUNet2D, LiuUNet3D
from SegAdversarialLib.networks.pervin_unet import PervinUNet


def parameters(network: torch.nn.Module) -> int:
    return sum(x.numel() for x in network.parameters())


def modules(network: torch.nn.Module, kind: type) -> list[Any]:
    return [x for x in network.modules() if isinstance(x, kind)]


@pytest.mark.parametrize(("kind", "dimensions"), [(LiuUNet3D, 3), (LiuUNet2D, 2)])
def test_liu_has_28_blocks(kind: type, dimensions: int) -> None:
    """15 in the encoder, 3 at each of 4 levels of the decoder, one last; 3 links with as many kernels as classes."""
    network = kind()
    counted, cube = 0, 3**dimensions
    block = {3: lambda i, o: cube * i * o + o + 2 * o, 1: lambda i, o: i * o + o + 2 * o}  # weights, bias, norm
    before = 4
    for width in (16, 32, 64, 128, 256):
        counted += block[3](before, width) + 2 * block[3](width, width)
        before = width
    for width in (128, 64, 32, 16):
        counted += 2 * block[3](2 * width, width) + block[1](width, width)
    counted += block[3](16, 16) + sum(width * 4 + 4 for width in (64, 32, 16))
    assert parameters(network) == counted
    norms = modules(network, torch.nn.InstanceNorm3d if dimensions == 3 else torch.nn.InstanceNorm2d)
    assert len(norms) == len(modules(network, torch.nn.LeakyReLU)) == 28
    convolutions = modules(network, torch.nn.Conv3d if dimensions == 3 else torch.nn.Conv2d)
    assert len(convolutions) == 28 + 3
    assert [x.stride[0] for x in convolutions].count(2) == 4
    assert [x.kernel_size[0] for x in convolutions].count(1) == 4 + 3
    drops = modules(network, torch.nn.Dropout3d if dimensions == 3 else torch.nn.Dropout2d)
    assert [x.p for x in drops] == [0.3] * 5


def watched(parts: Iterable[torch.nn.Module]) -> list[tuple[int, ...]]:
    """The shapes (C, *size) that parts of a network hand out, once it is asked."""
    shapes: list[tuple[int, ...]] = []
    for part in parts:
        part.register_forward_hook(lambda _module, _given, answer: shapes.append(tuple(answer.shape[1:])))
    return shapes


def test_liu_at_the_paper_s_size() -> None:
    with torch.device("meta"):
        network = LiuUNet3D()
    shapes = watched(network.entries)
    assert network(torch.empty(1, 4, 128, 128, 128, device="meta")).shape == (1, 4, 128, 128, 128)
    assert shapes == [(16, *3 * (128,)), (32, *3 * (64,)), (64, *3 * (32,)), (128, *3 * (16,)), (256, *3 * (8,))]


@pytest.mark.parametrize("size", [12, 13])
def test_liu_halves_as_the_paper_pads(size: int) -> None:
    """One voxel of zeros on the left and two on the right: the output that reads the second is one more than half."""
    torch.manual_seed(0)
    convolution = LiuUNet3D(2, 2, features=2).entries[1][0]
    x = torch.randn(1, 2, size, size, size)
    literal = torch.nn.functional.conv3d(
        torch.nn.functional.pad(x, (1, 2) * 3), convolution.weight, convolution.bias, stride=2
    )
    half = -(-size // 2)
    torch.testing.assert_close(convolution(x), literal[:, :, :half, :half, :half])


def test_pervin_goes_from_128_to_8_by_256() -> None:
    network = PervinUNet()
    counted, before = 0, 3
    for width in (16, 32, 64, 128, 256):
        counted += 9 * before * width + width + 9 * width * width + width
        before = width
    for width in (128, 64, 32, 16):
        counted += 4 * 2 * width * width + width  # transposed convolution of 2 x 2
        counted += 9 * 2 * width * width + width + 9 * width * width + width
    assert parameters(network) == counted + 16 + 1
    with torch.device("meta"):
        network = PervinUNet()
    shapes = watched(network.down)
    assert network(torch.empty(1, 3, 128, 128, device="meta")).shape == (1, 1, 128, 128)
    assert shapes == [(16, 128, 128), (32, 64, 64), (64, 32, 32), (128, 16, 16), (256, 8, 8)]


def test_pervin_begins_as_the_u_net_it_names() -> None:
    """Ronneberger et al. 2015, Section 3: sqrt(2 / N), so that what differs in an image still differs at the end."""
    torch.manual_seed(0)
    network = PervinUNet(4, 2, features=8)
    for module in modules(network, torch.nn.Conv2d):
        made_of = module.in_channels * module.kernel_size[0] ** 2
        assert float(module.weight.detach().std()) == pytest.approx((2 / made_of) ** 0.5, rel=0.35)
    for module in modules(network, torch.nn.ConvTranspose2d):  # each pixel is made of one pixel of each channel
        assert float(module.weight.detach().std()) == pytest.approx((2 / module.in_channels) ** 0.5, rel=0.1)
    image = torch.randn(4, 4, 32, 32)
    assert float(network(image).detach().std((0, 2, 3)).min()) > 0.1


def test_cheng_has_an_encoder_for_each_modality() -> None:
    """Two stages; each modality's encoder apart, and nothing else grows with their number."""

    def residual(i: int, o: int) -> int:
        return 2 * i + 27 * i * o + o + 2 * o + 27 * o * o + o + (i * o + o if i != o else 0)

    widths = (4, 8, 16, 32)
    encoder = 27 * 4 + 4 + sum(residual(w, w) for w in widths) + sum(27 * w * 2 * w + 2 * w for w in widths[:3])
    decoder = sum(2 * w * w + w + residual(2 * w, w) for w in widths[:3])
    stages = 2 * (3 * encoder + decoder) + residual(4, 4) + residual(8, 4)
    assert parameters(ChengCascadedUNet(3, 5, features=4)) == stages + 4 * 5 + 5


def test_cheng_merges_modalities_by_their_largest_feature() -> None:
    torch.manual_seed(0)
    network = ChengCascadedUNet(2, 2, features=2, levels=2).eval()
    for stage in network.stages:
        stage.encoders[1].load_state_dict(stage.encoders[0].state_dict())
    x = torch.randn(1, 2, 8, 8, 8)
    torch.testing.assert_close(network(x), network(x.flip(1)))  # equal encoders: order does not matter


SMALL: list[tuple[type, tuple[int, ...], tuple[int, ...]]] = [
    (LiuUNet3D, (16, 16, 16), (5, 23, 18)),
    (LiuUNet2D, (16, 16), (33, 7)),
    (PervinUNet, (16, 16), (37, 50)),
    (ChengCascadedUNet, (16, 16, 16), (1, 9, 21)),
]


@pytest.mark.parametrize(("kind", "even", "odd"), SMALL)
def test_any_size_has_an_answer_and_a_gradient_everywhere(kind: type, even: tuple[int, ...], odd: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    network = kind(2, 3, features=4).eval()
    for size in (even, odd, (1,) * len(even)):
        x = torch.randn(2, 2, *size, requires_grad=True)
        given = network(x)
        assert given.shape == (2, 3, *size) and given.isfinite().all()
        given.square().sum().backward()
        assert x.grad is not None and x.grad.isfinite().all() and (size == (1,) * len(even) or bool((x.grad != 0).any()))
        torch.testing.assert_close(torch.jit.script(network)(x), given)
    assert all(weight.grad is not None for weight in network.parameters())


BY_NAME: list[tuple[str, dict[str, Any]]] = [
    ("LiuUNet3D", {"in_channels": 2, "out_channels": 3, "features": 2}),
    ("ChengCascadedUNet", {"in_channels": 2, "out_channels": 3, "features": 2, "levels": 2}),
    ("UNet", {"spatial_dims": 3, "in_channels": 2, "out_channels": 3, "channels": [4, 8], "strides": [2]}),
    ("SegResNet", {"in_channels": 2, "out_channels": 3, "init_filters": 8}),
    ("SegResNetVAE", {"in_channels": 2, "out_channels": 3, "init_filters": 8, "input_image_size": [16, 16, 16]}),
    (
        "DynUNet",
        {
            **{"spatial_dims": 3, "in_channels": 2, "out_channels": 3, "filters": [4, 8, 16], "deep_supervision": True},
            **{"kernel_size": [3, 3, 3], "strides": [1, 2, 2], "upsample_kernel_size": [2, 2], "deep_supr_num": 1},
        },
    ),
]


@pytest.mark.parametrize(("name", "arguments"), BY_NAME, ids=[x for x, _ in BY_NAME])
def test_opened_by_name_and_attacked(name: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = architecture(NetworkSettings(name=name, arguments=arguments)).eval()
    torch.save(network.state_dict(), tmp_path / "net.pt")  # DynUNet has tensors under two names, which safetensors refuse
    settings = {"channels": ["A", "B"], "classes": ["background", "core", "rim"], "format": "weights", "size_multiple": 8}
    named = {**settings, "network": {"name": name, "arguments": arguments}, "weights": "net.pt"}
    (tmp_path / "net.json").write_text(json.dumps(named))
    model, case = open_model(tmp_path / "net.json", device="cpu"), toy_case((16, 16, 16))
    with torch.no_grad():
        given = network(torch.from_numpy(case.image)[None])
    expected = (given[0] if isinstance(given, (tuple, list)) else given)[0].numpy()
    np.testing.assert_allclose(model.logits(case), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    changed = attacks.FGSM(epsilon=0.05)(model, case)
    assert np.abs(changed.adversarial.image - case.image).max() > 0


def test_unknown_names_and_arguments_are_refused() -> None:
    with pytest.raises(InputError, match='no network "LiuUNet"; the nearest name is LiuUNet3D'):
        architecture(NetworkSettings(name="LiuUNet"))
    with pytest.raises(InputError, match='no network "Something"; there are LiuUNet3D.*MONAI.*SegResNet'):
        architecture(NetworkSettings(name="Something"))
    with pytest.raises(InputError, match="arguments of the network LiuUNet3D do not fit.*depth"):
        architecture(NetworkSettings(name="LiuUNet3D", arguments={"depth": 3}))
