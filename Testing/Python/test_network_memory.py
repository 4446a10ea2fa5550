"""What a network does to its input reaches nobody else, and costs nothing where it does nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import toy_case
from monai.data import MetaTensor
from torch import nn

from SegAdversarialLib import Case, InputError, Preprocessing, SegmentationModel, attacks, objectives


class Writes(nn.Module):
    """Changes its input by `writing`, or does the same without changing it; then says what is above the average."""

    def __init__(self, writing: str, dimensions: int = 3) -> None:
        super().__init__()
        self.writing = writing
        self.last = (nn.Conv3d if dimensions == 3 else nn.Conv2d)(1, 2, 3, padding=1, bias=False)
        with torch.no_grad():
            self.last.weight.copy_(torch.linspace(-1, 1, self.last.weight.numel()).view_as(self.last.weight))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.writing == "subtraction":
            x.sub_(300.0)
        elif self.writing == "no subtraction":
            x = x - 300.0
        elif self.writing == "rectifier":
            x = torch.relu_(x)
        elif self.writing == "no rectifier":
            x = torch.relu(x)
        elif self.writing == "clamp":
            x.clamp_(250.0, 350.0)
        elif self.writing == "no clamp":
            x = x.clamp(250.0, 350.0)
        elif self.writing == "assignment":
            x[x > 300.0] = 300.0
        elif self.writing == "no assignment":
            x = torch.where(x > 300.0, torch.full_like(x, 300.0), x)
        return self.last(x)


def model_of(network: nn.Module, **settings: Any) -> SegmentationModel:
    return SegmentationModel.from_network(network, channels=("A",), classes=["background", "core"], **settings)


def case_of() -> Case:
    return toy_case((8, 12, 12), ("A",), labels=2)


SETTINGS: dict[str, dict[str, Any]] = {
    "volume": {},
    "windows": {"window": (8, 8, 8)},
    "one window": {"window": (8, 12, 12)},
    "padded": {"size_multiple": 16},
    "slices": {"preprocessing": Preprocessing(axes="ji")},
    "prepared": {"preprocessing": Preprocessing(normalization={"kind": "window", "mean": 1.0, "std": 1.0})},
    "channels last": {"acceleration": {"channels_last": True}},
}


@pytest.mark.parametrize("writing", ["subtraction", "rectifier", "clamp", "assignment"])
@pytest.mark.parametrize(
    ("settings", "form"),
    [*((name, "plain") for name in SETTINGS), *((name, "scripted") for name in ("volume", "windows", "slices"))],
)
def test_a_network_that_writes_into_its_input(settings: str, writing: str, form: str) -> None:
    """It answers as its twin that does not, each time; the case stays what it was."""
    some = SETTINGS[settings]
    dimensions = 2 if settings == "slices" else 3
    case, kept = case_of(), case_of()
    networks = Writes(writing, dimensions), Writes(f"no {writing}", dimensions)
    model, twin = (model_of(torch.jit.script(x) if form == "scripted" else x, **some) for x in networks)
    loss = objectives.SoftDice(case.label)
    value, gradient = twin.value_and_gradient(kept, loss)
    expected = twin.logits(kept)
    for _ in range(2):
        np.testing.assert_array_equal(model.logits(case), expected)
        found = model.value_and_gradient(case, loss)
        assert found[0] == value
        np.testing.assert_array_equal(found[1], gradient)
    np.testing.assert_array_equal(case.image, kept.image)
    assert model.describe()["in_place"] and not twin.describe()["in_place"]


@pytest.mark.parametrize("settings", ["volume", "windows", "slices"])
def test_attacks_on_a_network_that_writes_into_its_input(settings: str) -> None:
    """Every step, snapshot and difference is that of the twin, and no voxel leaves the budget."""
    some, dimensions = SETTINGS[settings], 2 if settings == "slices" else 3
    found, expected = (
        attacks.PGD(epsilon=10.0, epsilon_units="absolute", steps=3, snapshot_every=1, keep="last", random_start=True)(
            model_of(Writes(writing, dimensions), **some), case_of()
        )
        for writing in ("clamp", "no clamp")
    )
    np.testing.assert_array_equal(found.original.image, case_of().image)
    np.testing.assert_array_equal(found.adversarial.image, expected.adversarial.image)
    assert found.trace == expected.trace and len(found.snapshots) == len(expected.snapshots) > 2
    for one, other in zip(found.snapshots, expected.snapshots):
        np.testing.assert_array_equal(one.image, other.image)
    assert 0 < np.abs(found.adversarial.image - case_of().image).max() <= 10.0


class WritesUnseen(nn.Module):
    """Changes its input behind autograd's back."""

    def __init__(self, how: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.how(x)
        return torch.cat([x, -x], 1)


def to_zero(x: torch.Tensor) -> None:
    x.detach().numpy()[:] = 0


@pytest.mark.parametrize("how", [lambda x: x.data.add_(1.0), to_zero])
def test_writing_that_no_counter_counts(how: Callable[[torch.Tensor], Any]) -> None:
    model, case = model_of(WritesUnseen(how)), case_of()
    first = model.logits(case)
    np.testing.assert_array_equal(model.logits(case), first)
    np.testing.assert_array_equal(case.image, case_of().image)


def test_a_volume_of_monais_is_not_changed_either() -> None:
    image = MetaTensor(torch.from_numpy(case_of().image))
    case = Case(image, ("A",), np.eye(4))  # type: ignore[arg-type]
    model_of(Writes("clamp")).segment(case)
    assert torch.equal(image.as_tensor(), torch.from_numpy(case_of().image))


def test_writing_that_depends_on_the_image_is_noticed() -> None:
    """Nobody can try out everything: the user's image is safe, and the sentence says what to set."""
    network, case = WritesUnseen(lambda x: x.neg_() if 290 < float(x.mean()) < 310 else None), case_of()
    loss = objectives.SoftDice(case.label)
    for ask in (model_of(network).segment, lambda case: model_of(network).value_and_gradient(case, loss)):
        with pytest.raises(InputError, match="changes its input in place, though it did not.*in_place"):
            ask(case)
    np.testing.assert_array_equal(case.image, case_of().image)
    expected = np.concatenate([-case.image, case.image])
    for _ in range(2):
        np.testing.assert_array_equal(model_of(network, in_place=True).logits(case), expected)


class Places(nn.Module):
    """Writes down where in memory it is given its input."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.data_ptr())
        return torch.cat([x, -x], 1)


@pytest.mark.parametrize("axes", ["kji", "ji"])
def test_one_copy_for_a_whole_attack(axes: str) -> None:
    """A network that leaves its input alone sees each step's image where it lies."""
    network, case = Places(), case_of()
    model = model_of(network, preprocessing=Preprocessing(axes=axes), window_batch=8)
    model.examine()
    loss = objectives.SoftDice(case.label)
    with model.on(case) as bound:
        assert bound.image.data_ptr() != case.image.ctypes.data
        bound_loss = loss.bind(model.head, "cpu", torch.float32)
        images = [bound.image, bound.image + 1, bound.image + 2]
        network.seen.clear()
        for image in images:
            bound.differentiate(image, bound_loss)
            bound.logits(image)
        assert network.seen == [image.data_ptr() for image in images for _ in range(2)]


@pytest.mark.parametrize("settings", ["windows", "prepared"])
def test_no_copy_where_the_network_never_sees_the_image_itself(settings: str) -> None:
    case = case_of()
    with model_of(Places(), **SETTINGS[settings]).on(case) as bound:
        assert bound.image.data_ptr() == case.image.ctypes.data
