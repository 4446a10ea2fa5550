"""Preprocessing against numpy, SciPy and SimpleITK, and its derivatives against autograd."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK
import torch
from conftest import oblique_affine, tiny_network, toy_case

from SegAdversarialLib import InputError, Preprocessing, SegmentationModel
from SegAdversarialLib.model.standardization import standardize
from SegAdversarialLib.volumes.geometry import itk_image


@pytest.mark.parametrize("kind", ["all", "positive", "nonzero", "above_mean"])
@pytest.mark.parametrize("background", [None, 0.0, -3.0])
def test_zscore(kind: str, background: float | None) -> None:
    values = np.random.default_rng(0).normal(1, 2, (5, 6, 7))
    values[:2] = 0
    everywhere = np.ones(values.shape, dtype=bool)
    masks = {"all": everywhere, "positive": values > 0, "nonzero": values != 0, "above_mean": values > values.mean()}
    inside = masks[kind]
    expected = (values - values[inside].mean()) / values[inside].std()
    if background is not None:
        expected[~inside] = background
    step = Preprocessing(normalization={"kind": "zscore", "mask": kind, "background": background}).normalization
    np.testing.assert_allclose(step.apply(torch.from_numpy(values)).numpy(), expected, rtol=1e-12)


def test_rescale_and_window() -> None:
    values = np.random.default_rng(0).normal(100, 30, (5, 6, 7))
    volume = torch.from_numpy(values)
    low, high = np.percentile(values, [2, 97.5])
    step = Preprocessing(normalization={"kind": "rescale", "low": 2, "high": 97.5, "clip": True}).normalization
    np.testing.assert_allclose(step.apply(volume).numpy(), ((values - low) / (high - low)).clip(0, 1), rtol=1e-10)
    step = Preprocessing(normalization={"kind": "window", "lower": 80, "upper": 120, "mean": 95, "std": 4}).normalization
    np.testing.assert_allclose(step.apply(volume).numpy(), (values.clip(80, 120) - 95) / 4, rtol=1e-12)


@pytest.mark.parametrize("background", [None, 0.0])
@pytest.mark.parametrize("masked", [True, False])
def test_standardization_gradient(masked: bool, background: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    volume = torch.randn(3, 4, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    inside = (lambda some, piece: (some > -0.3).to(some.dtype)) if masked else None
    assert torch.autograd.gradcheck(lambda x: standardize(x, inside, background), (volume,))


def test_constant_channels_become_zero() -> None:
    for value in (7.0, 1000.1, 0.1, -37.7):
        leaf = torch.full((100, 100, 100), value, requires_grad=True)
        scores = standardize(leaf)
        (gradient,) = torch.autograd.grad(scores.sum(), leaf)
        assert not scores.any() and not gradient.any()


@pytest.mark.parametrize("spacing", [(1.8, 1.1, 2.5), (0.9, 0.55, 5.0), (0.7, 2.0, 1.6)])
def test_resampling_is_itks(spacing: tuple[float, float, float]) -> None:
    """Linear resampling over the same extent; SimpleITK with the same grid agrees inside the outermost centres."""
    case = toy_case((12, 14, 16), affine=oblique_affine())
    grid = Preprocessing(spacing=spacing).on_grid(case.shape, case.affine)
    ours = torch.stack([grid.forward_channel(torch.from_numpy(x), n) for n, x in enumerate(case.image)]).numpy()
    k, j, i = ours.shape[1:]
    assert (i, j, k) == tuple(round(n * old / new) for n, old, new in zip(case.shape[::-1], case.spacing, spacing))
    steps = np.array(case.shape[::-1]) / np.array([i, j, k])  # new voxels in units of old ones
    affine = case.affine.copy()
    affine[:3, :3] = case.affine[:3, :3] * steps
    affine[:3, 3] = (case.affine @ [*((steps - 1) / 2), 1])[:3]
    source, target = itk_image(case.image[0], case.affine), itk_image(np.zeros((k, j, i), np.float32), affine)
    expected = SimpleITK.GetArrayFromImage(SimpleITK.Resample(source, target, SimpleITK.Transform(), SimpleITK.sitkLinear))
    np.testing.assert_allclose(ours[0][2:-2, 2:-2, 2:-2], expected[2:-2, 2:-2, 2:-2], rtol=1e-4)


def test_axes_in_any_order() -> None:
    """ijk is the array as nibabel gives it; two letters make the third axis the one of the slices."""
    case = toy_case((3, 4, 5))
    whole = torch.from_numpy(case.image[0])
    as_nibabel = Preprocessing(axes="ijk").on_grid(case.shape, case.affine).forward_channel(whole, 0)
    assert torch.equal(as_nibabel, whole.permute(2, 1, 0))
    grid = Preprocessing(axes="ki").on_grid(case.shape, case.affine)
    assert torch.equal(grid.forward_channel(whole, 0), whole.permute(1, 0, 2))
    assert grid.network_shape == (4, 3, 5)
    logits = torch.arange(2.0 * 60).reshape(2, 4, 3, 5)
    assert torch.equal(grid.restore(logits), logits.permute(0, 2, 1, 3))


@pytest.mark.parametrize("axes", ["kji", "ijk", "ji"])
def test_answers_lie_on_the_cases_own_grid(axes: str) -> None:
    """A network that thresholds its input finds the bright block where it is, whatever was done on the way."""

    class Threshold(torch.nn.Module):
        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return torch.cat([torch.zeros_like(batch), batch - 0.5], dim=1)

    case = toy_case((12, 14, 16), channels=("A",), affine=oblique_affine())
    image = np.zeros_like(case.image)
    image[0, 2:8, 4:10, 8:14] = 1
    for orientation in (None, "RAS", "SPL", "IAR"):
        for size in (None, (32, 28, 24)):
            model = SegmentationModel.from_network(
                Threshold(),
                channels=("A",),
                classes=["background", "block"],
                preprocessing=Preprocessing(orientation=orientation, size=size, axes=axes),
            )
            agreement = (model.segment(case.with_image(image)) == image[0]).mean()
            assert agreement == 1.0 if size is None else agreement > 0.97


def test_channels_can_be_normalized_differently() -> None:
    case = toy_case()
    network = tiny_network().float()
    steps = ({"kind": "zscore"}, {"kind": "window", "std": 100})
    model = SegmentationModel.from_network(
        network, channels=("A", "B"), classes=["x", "y", "z"], preprocessing=Preprocessing(normalization=steps)
    )
    first = (case.image[0] - case.image[0].mean()) / case.image[0].std()
    batch = torch.from_numpy(np.stack([first, case.image[1] / 100]))[None]
    with torch.no_grad():
        expected = network(batch)[0].numpy()
    np.testing.assert_allclose(model.logits(case), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "settings",
    [
        {"orientation": "RAX"},
        {"orientation": "RLS"},
        {"spacing": (1, 1, 0)},
        {"spacing": (1, 1, 1), "size": (8, 8, 8)},
        {"size": (8, 0, 8)},
        {"axes": "kjk"},
        {"axes": "xyz"},
        {"normalization": {"kind": "magic"}},
        {"normalization": {"kind": "rescale", "low": 90, "high": 10}},
        {"resolution": 3},
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Preprocessing(**settings)


@pytest.mark.parametrize("code", ["LPS", "RPS", "SAR"])
def test_a_channel_written_elsewhere_keeps_its_gradient(code: str) -> None:
    """What `out` is given is what comes back, whatever is flipped, and the gradient is that without `out`."""
    case = toy_case(affine=np.diag([-1.0, -1.0, 1.0, 1.0]))
    grid = Preprocessing(orientation=code, normalization={"kind": "zscore"}).on_grid(case.shape, case.affine)
    leaf = torch.from_numpy(case.image[0]).double().requires_grad_(True)
    out = torch.empty(grid.network_shape, dtype=torch.float64)
    wanted, found = grid.forward_channel(leaf, 0), grid.forward_channel(leaf, 0, out)
    torch.testing.assert_close(out, wanted.detach(), rtol=0, atol=0)
    torch.testing.assert_close(found.detach(), wanted.detach(), rtol=0, atol=0)
    seed = torch.randn_like(out)
    torch.testing.assert_close(*(torch.autograd.grad(x, leaf, seed)[0] for x in (found, wanted)))


@pytest.mark.parametrize("axes", ["kji", "ijk", "ji"])
def test_what_the_network_sees(axes: str) -> None:
    """SimpleITK's orientation, numpy's standardisation and transposition; in memory of its own, the case as it was."""
    case = toy_case((5, 6, 7), affine=oblique_affine())
    preprocessing = Preprocessing(orientation="RAS", axes=axes, normalization={"kind": "zscore"})
    network = torch.nn.Module()  # it is never asked
    model = SegmentationModel.from_network(
        network, channels=("B", "A"), classes=["no", "yes"], preprocessing=preprocessing, window=(4,) * len(axes)
    )
    turned = [
        SimpleITK.GetArrayFromImage(SimpleITK.DICOMOrient(itk_image(case.channel(name), case.affine), "RAS"))
        for name in ("B", "A")
    ]
    expected = np.stack([(x - x.mean(dtype=np.float64)) / x.std(dtype=np.float64) for x in turned])
    if axes == "ijk":
        expected = expected.transpose(0, 3, 2, 1)
    found = model.prepare(case)
    assert found.dtype == torch.float32 and not found.requires_grad and str(found.device) == "cpu"
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-6)


def test_what_the_network_sees_is_nobody_elses_memory() -> None:
    case = toy_case()
    model = SegmentationModel.from_network(torch.nn.Module(), channels=("A", "B"), classes=["no", "yes"])
    seen = model.prepare(case)
    np.testing.assert_array_equal(seen.numpy(), case.image)
    seen.zero_()
    np.testing.assert_array_equal(case.image, toy_case().image)
