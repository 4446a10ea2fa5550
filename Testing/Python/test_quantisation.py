"""Blocks as cosines, what tables make of their coefficients, and structural similarity with its gradient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import ROOT, oblique_affine
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.fft import dctn

from SegAdversarialLib.attacks.engine.similarity import Similarity
from SegAdversarialLib.changes.quantisation import BlockCosines, nearest_quantised, quantised, table_for
from SegAdversarialLib.metrics import ssim
from SegAdversarialLib.volumes.intensity import IntensityRange

DOUBLE = torch.zeros((), dtype=torch.float64)


def random_volume(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("shape", [(16, 8, 24), (19, 11, 9), (1, 17, 5), (8, 3, 2)])
@pytest.mark.parametrize("block", [(8, 8, 8), (3, 8, 5), (1, 16, 4)])
def test_coefficients_are_those_of_scipy_block_by_block(shape: tuple[int, ...], block: tuple[int, int, int]) -> None:
    volume, wanted = random_volume(2, *shape), np.empty((2, *shape))
    for k in range(0, shape[0], block[0]):
        for j in range(0, shape[1], block[1]):
            for i in range(0, shape[2], block[2]):
                part = (slice(None), slice(k, k + block[0]), slice(j, j + block[1]), slice(i, i + block[2]))
                wanted[part] = dctn(volume[part].numpy(), axes=(1, 2, 3), norm="ortho")
    cosines = BlockCosines(block, DOUBLE)
    found = cosines.coefficients(volume)
    np.testing.assert_allclose(found.numpy(), wanted, atol=1e-12)
    np.testing.assert_allclose(cosines.voxels(found).numpy(), volume.numpy(), atol=1e-12)
    other = random_volume(2, *shape, seed=1)
    assert float((cosines.voxels(other) * volume).sum()) == pytest.approx(float((other * found).sum()), abs=1e-9)


def test_blocks_are_as_near_to_cubes_as_voxels_allow() -> None:
    assert BlockCosines.of_mm(8.0, np.eye(4), (40, 40, 40), DOUBLE).block == (8, 8, 8)
    assert BlockCosines.of_mm(8.0, oblique_affine(), (40, 40, 40), DOUBLE).block == (3, 7, 9)  # 2.5, 1.1 and 0.9 mm
    assert BlockCosines.of_mm(8.0, np.diag([1, 1, 20, 1]), (5, 40, 3), DOUBLE).block == (1, 8, 3)


def test_a_block_worked_out_by_hand() -> None:
    """Voxels 7 and 3 are the coefficients 10 / sqrt 2 = 7.07 and 4 / sqrt 2 = 2.83: one step of 5 each, and one of 4."""
    cosines, root = BlockCosines((1, 1, 2), DOUBLE), np.sqrt(2)
    coefficients = cosines.coefficients(torch.tensor([[[[7.0, 3.0]]]], dtype=torch.float64))
    np.testing.assert_allclose(coefficients.flatten().numpy(), [10 / root, 4 / root])
    changed = quantised(coefficients, torch.tensor([5.0, 4.0], dtype=torch.float64).expand(coefficients.shape))
    np.testing.assert_allclose(cosines.voxels(changed).flatten().numpy(), [9 / root, 1 / root])
    np.testing.assert_array_equal(quantised(coefficients, torch.ones_like(coefficients)), coefficients.round())
    np.testing.assert_array_equal(quantised(coefficients, torch.zeros_like(coefficients)), coefficients)


@settings(max_examples=300, deadline=None)
@given(coefficient=st.floats(-60, 60).map(lambda x: round(x, 4)), wanted=st.floats(-80, 80), q_max=st.floats(0.5, 30))
def test_the_nearest_is_that_of_all_tables(coefficient: float, wanted: float, q_max: float) -> None:
    """Against every step of a fine grid; exactly half way between two steps, rounding may go either way."""
    assume(abs(abs(coefficient / q_max) % 1 - 0.5) > 1e-9)
    steps = np.linspace(0, q_max, 40001)[1:]
    made = np.append(steps * np.rint(coefficient / steps), coefficient)
    best = np.abs(made - wanted).min()
    given_ = [torch.full((1, 1, 1, 1), x, dtype=torch.float64) for x in (coefficient, wanted, q_max)]
    found = nearest_quantised(*given_)
    assert abs(float(found) - wanted) == pytest.approx(best, abs=2e-3 * (1 + abs(coefficient)))
    table = table_for(given_[0], found, given_[2])
    assert 0 <= float(table) <= q_max
    np.testing.assert_allclose(quantised(given_[0], table), found, rtol=1e-12)
    assert abs(float(found) - coefficient) <= min(q_max / 2, abs(coefficient)) * (1 + 1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tables_make_whole_volumes_of_values(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    coefficients = 30 * torch.randn(3, 9, 10, 11, generator=generator, dtype=dtype)
    coefficients[0, :2] = 0
    wanted = coefficients + 20 * torch.randn(coefficients.shape, generator=generator, dtype=dtype)
    q_max = torch.tensor([12.0, 0.0, 40.0], dtype=dtype).view(-1, 1, 1, 1)
    found = nearest_quantised(coefficients, wanted, q_max)
    table = table_for(coefficients, found, q_max)
    assert bool((table <= q_max).all())
    np.testing.assert_allclose(quantised(coefficients, table), found, rtol=1e-6)
    np.testing.assert_array_equal(found[1], coefficients[1])
    assert not found[0, :2].any()
    np.testing.assert_array_equal(nearest_quantised(coefficients, coefficients, q_max), coefficients)
    assert bool(((found - coefficients).abs() <= q_max / 2 * (1 + 1e-6)).all())


@pytest.mark.parametrize("shape", [(14, 13, 16), (7, 20, 12), (1, 15, 18), (2, 3, 4)])
def test_similarity_is_the_one_that_results_count(shape: tuple[int, ...]) -> None:
    before = np.random.default_rng(0).gamma(2, 100, shape).astype(np.float32)
    after = (before + np.random.default_rng(1).normal(0, 30, shape)).astype(np.float32)
    found = Similarity(torch.from_numpy(before), IntensityRange.of(before))
    assert found.value(torch.from_numpy(after)) == pytest.approx(ssim(before, after), abs=2e-6)
    assert found.value(torch.from_numpy(before)) == pytest.approx(1, abs=1e-6)


def test_similarity_and_its_gradient_are_those_of_monai() -> None:
    from monai.losses.ssim_loss import SSIMLoss

    before = random_volume(13, 15, 12).abs()
    after = (before + 0.2 * random_volume(13, 15, 12, seed=1)).requires_grad_(True)
    span, low = float(before.max() - before.min()), float(before.min())
    loss = SSIMLoss(spatial_dims=3, data_range=1.0, kernel_type="gaussian", win_size=11, kernel_sigma=1.5)
    theirs = 1 - loss(((after - low) / span)[None, None], ((before - low) / span)[None, None])
    theirs.backward()
    value, gradient = Similarity(before, IntensityRange.of(before.numpy())).value_and_gradient(after.detach())
    assert value == pytest.approx(float(theirs.detach()), abs=1e-6)
    # MONAI's windows are in single precision
    np.testing.assert_allclose(gradient, after.grad, rtol=1e-4, atol=1e-5 * float(after.grad.abs().max()))


def test_a_channel_without_range_has_no_similarity() -> None:
    assert not Similarity(torch.ones(4, 4, 4), IntensityRange(1.0, 1.0)).is_defined
    assert not Similarity(torch.rand(2, 2, 1), IntensityRange(0.0, 1.0)).is_defined


def test_the_published_form_that_benchmarks_compare_with(monkeypatch: pytest.MonkeyPatch) -> None:
    from monai.metrics.regression import SSIMMetric

    monkeypatch.syspath_prepend(str(ROOT / "Testing" / "Benchmarks"))
    import vafa

    values = torch.tensor([-2.3, -1.6, -1.4, -0.7, 0.0, 0.2, 0.4, 0.6, 1.3, 5.9])
    np.testing.assert_allclose(vafa.rounded(values, 1e-12), values.round(), atol=0.02)
    assert float((vafa.rounded(values, 0.1) - values).abs().max()) < float((values.round() - values).abs().max())
    before = random_volume(1, 8, 16, 8).float().sigmoid()
    after = (before + 0.1 * random_volume(1, 8, 16, 8, seed=1).float()).clamp(0, 1)
    metric = SSIMMetric(spatial_dims=3, data_range=1.0, kernel_type="gaussian", win_size=3, kernel_sigma=1.5)
    theirs = [float(metric(after[None, :, :, n : n + 8], before[None, :, :, n : n + 8])) for n in (0, 8)]
    assert float(vafa.block_similarity(before, after, 8)) == pytest.approx(np.mean(theirs), abs=1e-4)
    search = vafa.Vafa(q_max=20.0, q_min=1.0, begins=1.0, block=8, steps=3)
    found = search.window(before, lambda image: (image * before).sum())
    assert found.shape == before.shape and float(found.min()) >= 0 and float(found.max()) <= 1
    assert float((found * before).sum()) != float((before * before).sum())
