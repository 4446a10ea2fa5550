"""The generator of the learned attack: its networks, its fields on any grid, and its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, oblique_affine
from generator_helpers import bound_to, drawn, subject, toy_generator, toy_model

from SegAdversarialLib import Case, InputError
from SegAdversarialLib.attacks import GenerativeAttack
from SegAdversarialLib.changes.fields import jacobian_determinant
from SegAdversarialLib.networks.deformation_intensity_vae import Critic, Gaussian
from SegAdversarialLib.networks.generator import Generator


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("shape", [(8, 8, 8), (7, 10, 13)])
@pytest.mark.parametrize("affine", [np.eye(4), oblique_affine()], ids=["unit", "oblique"])
def test_fields_fit_the_case_and_their_bounds(dimensions: int, shape: tuple[int, int, int], affine: np.ndarray) -> None:
    case = subject(shape=shape, affine=affine)
    generator = toy_generator(case, dimensions=dimensions)
    with torch.no_grad():
        fields = drawn(bound_to(generator, case), 3.0)
        assert fields.displacement.shape == (3, *shape) and fields.intensity.shape == (2, *shape)
        length = fields.displacement.norm(dim=0)
        assert 0.1 < float(length.max()) <= 1.5 and 0.05 < float(fields.intensity.abs().max()) <= 1.0
        assert float(jacobian_determinant(fields.displacement, affine).min()) > 0
        if dimensions == 2:  # nothing moves across the slices
            across = affine[:3, 2] / np.linalg.norm(affine[:3, 2])
            assert float(torch.einsum("c...,c->...", fields.displacement.double(), torch.tensor(across)).abs().max()) < 1e-6
        changed = bound_to(generator, case).apply(fields)
        assert changed.shape == case.image.shape
        low, high = case.image.min((1, 2, 3)), case.image.max((1, 2, 3))
        assert (changed.numpy().min((1, 2, 3)) >= low).all() and (changed.numpy().max((1, 2, 3)) <= high).all()


def test_no_fold_whatever_the_decoder_says() -> None:
    """The worst field that is bounded: every voxel of the decoder at its bound, in a random direction, or in checkerboard."""
    network = toy_generator(largest_displacement=2.0).network
    for number in range(20):
        raw = torch.randn((1, 3, 8, 8, 8), generator=torch.Generator().manual_seed(number))
        if number == 0:
            raw = torch.ones(1, 3, 8, 8, 8)
            raw[..., 4:] = -1
        field = 2.0 * raw / raw.norm(dim=1, keepdim=True)
        finished = network.deformation.finished(field)[0]
        assert float(finished.norm(dim=0).max()) <= 2.0
        kji_as_ras = finished.flip(0)
        assert float(jacobian_determinant(kji_as_ras, np.eye(4)).min()) > 0


def test_components_point_along_the_bodys_axes(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a turned and oblique grid, one mm along the axis that points left goes one mm along that axis of the case."""
    affine = oblique_affine()[:, [2, 0, 1, 3]] * np.array([-1, 1, 1, 1])
    case = subject(shape=(9, 10, 11), affine=affine)
    makes = bound_to(toy_generator(case), case)
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    for axis, body in ((2, (-1, 0, 0)), (1, (0, -1, 0)), (0, (0, 0, 1))):  # i, j, k point to L, P, S
        components = torch.zeros(3, *case.shape)
        components[axis] = 1
        closest = directions[:, np.abs(np.array(body) @ directions).argmax()]
        expected = closest * np.sign(np.array(body) @ closest)
        found = makes._in_millimetres(components)
        np.testing.assert_allclose(found[:, 4, 4, 4], expected, atol=1e-6)


def test_a_coarser_grid_sees_the_same_place() -> None:
    """The fields of a generator of 2 mm lie on a case of 1 mm where they lie on one of 2 mm."""
    fine = subject(shape=(16, 16, 16))
    coarse_affine = np.diag([2.0, 2, 2, 1])
    coarse_affine[:3, 3] = 0.5
    image = fine.image.reshape(2, 8, 2, 8, 2, 8, 2).mean((2, 4, 6))
    coarse = Case(image, fine.channels, coarse_affine, name="coarse")
    generator = toy_generator(fine, spacing=(2, 2, 2))
    with torch.no_grad():
        makes = bound_to(generator, fine)
        makes_coarse = bound_to(generator, coarse)
        makes_coarse._seen = makes._seen
        first, second = drawn(makes), drawn(makes_coarse)
    mean = first.displacement.reshape(3, 8, 2, 8, 2, 8, 2).mean((2, 4, 6))
    np.testing.assert_allclose(mean[:, 1:-1, 1:-1, 1:-1], second.displacement[:, 1:-1, 1:-1, 1:-1], atol=0.05)


def test_xi_of_zero_is_nothing_bit_for_bit() -> None:
    case = subject()
    makes = bound_to(toy_generator(), case)
    with torch.no_grad():
        np.testing.assert_array_equal(makes.apply(drawn(makes, 0.0)), case.image)


def test_background_keeps_its_intensity() -> None:
    case = subject()
    case.image[:, :3] = 0
    with torch.no_grad():
        for foreground in (True, False):
            makes = bound_to(toy_generator(case, foreground=foreground, largest_displacement=0.0), case)
            changed = makes.apply(drawn(makes, 3.0)).numpy()
            assert (changed[:, :3] != 0).any() == (not foreground)
            assert (changed[:, 3:] != case.image[:, 3:]).any()


def test_divergence_is_that_of_the_normal_distribution() -> None:
    mean, log_variance = torch.tensor([0.5, -1.0]), torch.tensor([0.3, -2.0])
    normal = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    wanted = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0, 1)).mean()
    assert float(Gaussian(mean, log_variance).divergence()) == pytest.approx(float(wanted))


def test_the_critics_weights_are_clipped() -> None:
    critic = Critic(3, 2, (4, 8))
    critic.clip(0.01)
    assert max(float(x.detach().abs().max()) for x in critic.parameters()) == pytest.approx(0.01)
    assert critic(torch.randn(3, 2, 9, 10, 11)).shape == (3,)


def test_files(tmp_path: Path) -> None:
    generator, case = toy_generator(), subject()
    path = tmp_path / "folder" / "g.safetensors"
    replace(generator, learned={"network": "toy"}).write(path)
    read = Generator.read(path)
    assert read.settings == generator.settings and read.learned == {"network": "toy"}
    assert read.fingerprint == generator.fingerprint
    with torch.no_grad():
        first, second = (drawn(bound_to(x, case)) for x in (generator, read))
    torch.testing.assert_close(first.displacement, second.displacement, rtol=0, atol=0)
    path.write_bytes(b"no tensors")
    weights = ROOT / "Resources" / "brain-tumour-phantom.safetensors"
    for wrong, message in (
        (path, "damaged"),
        (tmp_path / "none", "no generator file"),
        (tmp_path, "no generator file"),
        (weights, "holds no generator"),
        ("builtin:none", "no built-in generator"),
    ):
        with pytest.raises(InputError, match=message) as found:
            GenerativeAttack(generator=wrong)(toy_model(), case)
        assert str(found.value).count("\n") == 0
