"""Windows that are not asked again: the identical image and trace as when all are, and what of the windows was spared."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import UNet

from SegAdversarialLib import Case, Preprocessing, SegmentationModel, attacks
from SegAdversarialLib.attacks import Attack, AttackResult, make_attack
from SegAdversarialLib.model import sparing
from SegAdversarialLib.model.bound_model import BoundModel
from SegAdversarialLib.model.reach import reached
from SegAdversarialLib.model.sparing import Sparing

SHAPE = (16, 24, 32)
CT = {"kind": "window", "lower": 0.0, "upper": 80.0, "mean": 30.0, "std": 20.0}
INSIDE = {"kind": "zscore", "mask": "nonzero", "background": 0.0}


def body() -> Case:
    """Two channels that are 0 beside a body with two structures."""
    generator = np.random.default_rng(0)
    image, label = np.zeros((2, *SHAPE), np.float32), np.zeros(SHAPE, np.int16)
    image[:, 3:13, 4:20, 4:24] = 5 + 100 * generator.random((2, 10, 16, 20), dtype=np.float32)
    label[5:10, 8:14, 8:18] = 1
    label[6:8, 9:12, 10:14] = 2
    return Case(image, ("A", "B"), np.diag([1.0, 1.0, 2.0, 1.0]), label, name="body")


def region() -> np.ndarray:
    """A corner of the body."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[4:8, 5:8, 5:8] = True
    return mask


def network(dimensions: int = 3) -> torch.nn.Module:
    torch.manual_seed(0)
    return UNet(dimensions, 2, 3, (4, 8), (2,), num_res_units=1, norm="instance").eval()


def model(module: torch.nn.Module, spared: bool = True, **settings: Any) -> SegmentationModel:
    return SegmentationModel.from_network(
        module,
        channels=("A", "B"),
        classes=["background", "core", "rim"],
        acceleration={"spared": spared},
        **({"window": (8, 8, 8), "overlap": 0.25} | settings),
    )


class Counted(torch.nn.Module):
    """Counts the windows that it is asked about; all but the last of a batch depend on what is beside them."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module, self.windows = module, 0

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        self.windows += len(batch)
        return self.module(batch)


class Writing(torch.nn.Module):
    """Hands out its own memory, which it writes into at each question."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module, self.memory = module, torch.zeros(1, 3, 8, 8, 8)

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and batch.requires_grad:
            return self.module(batch)
        self.memory.resize_(len(batch), 3, *batch.shape[2:]).copy_(self.module(batch))
        return self.memory


def assert_same(found: AttackResult, expected: AttackResult) -> None:
    """To the last bit, the iterations included."""

    def rows(result: AttackResult) -> list[dict[str, float]]:
        return [{name: x for name, x in row.items() if name != "windows spared"} for row in result.trace]

    assert found.adversarial.image.tobytes() == expected.adversarial.image.tobytes()
    assert rows(found) == rows(expected)


SETTINGS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "two at once": {"overlap": 0.5, "window_batch": 2},
    "flipped": {"overlap": 0.0, "mirror": "ki"},
    "slices": {"window": None, "window_batch": 2, "preprocessing": Preprocessing(axes="ji")},
    "statistics": {"preprocessing": Preprocessing(normalization={"kind": "zscore"})},
    "statistics inside": {"preprocessing": Preprocessing(normalization=INSIDE)},
    "resampled": {"preprocessing": Preprocessing(normalization=CT, spacing=(1.0, 1.0, 1.0))},
    "turned and cropped": {
        "preprocessing": Preprocessing(orientation="LPS", crop={"kind": "foreground", "margin": (3, 3, 3)}, normalization=CT)
    },
    "percentiles": {"preprocessing": Preprocessing(normalization={"kind": "rescale", "low": 1.0, "high": 99.0})},
}

ATTACKS: dict[str, dict[str, Any]] = {
    "fgsm": {},
    "pgd": {"steps": 2},
    "pgd l2": {"steps": 2, "norm": "l2", "epsilon": 3.0},
    "apgd": {"steps": 3},
    "momentum-ifgsm": {"steps": 2},
    "worst-case": {"gradient_budget": 2},
    "bias-field": {"steps": 1, "first_draws": 0},
    "deformation": {"steps": 1, "first_draws": 0},
    "square": {"queries": 4},
}


def attack(name: str, **settings: Any) -> Attack:
    return make_attack(name.split()[0], {**ATTACKS[name], "region": region(), **settings})


def both(asked: Attack, module: torch.nn.Module, **settings: Any) -> AttackResult:
    """The result, once it is known to be the same as without sparing."""
    case = body()
    found, expected = (asked(model(module, spared, **settings), case) for spared in (True, False))
    assert expected.windows_spared == 0 and all(row["windows spared"] == 0 for row in expected.trace)
    assert_same(found, expected)
    return found


@pytest.mark.parametrize(
    ("name", "where"), [*zip(ATTACKS, itertools.cycle(SETTINGS)), ("pgd", "resampled"), ("apgd", "slices")]
)
def test_the_same_image_to_the_last_bit(name: str, where: str) -> None:
    found = both(attack(name), network(2 if where == "slices" else 3), **SETTINGS[where])
    assert 0 < found.windows_spared < 1 and found.trace[-1]["windows spared"] >= 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "where"), list(itertools.product(ATTACKS, SETTINGS)))
def test_the_same_image_for_every_attack_and_setting(name: str, where: str) -> None:
    both(attack(name), network(2 if where == "slices" else 3), **SETTINGS[where])


@pytest.mark.parametrize("settings", [{"region": None}, {"region": "foreground"}, {"region": None, "channels": ("A",)}])
def test_the_same_image_without_a_small_region(settings: dict[str, Any]) -> None:
    """Constant windows beside the body are asked once for each pass."""
    assert both(attack("pgd", **settings), network()).windows_spared > 0


@pytest.mark.parametrize(
    "module", [Writing(network()), torch.jit.script(network())], ids=["writes into what it gave", "TorchScript"]
)
def test_other_networks(module: torch.nn.Module) -> None:
    found = both(attack("pgd"), module)
    assert found.windows_spared > 0.5


def test_what_is_counted_is_what_is_not_asked() -> None:
    """The network sees as many windows fewer as are said to be spared, but for those that only a backward pass needs."""
    counts, results = [], []
    for spared in (False, True):
        counted = Counted(network())
        opened = model(counted, spared)
        opened.examine()
        counted.windows = 0
        results.append(attack("fgsm")(opened, body()))
        counts.append(counted.windows)
    assert counts[1] < 0.5 * counts[0]
    assert results[1].windows_spared > 0.5 and results[1].describe()["windows_spared"] == results[1].windows_spared
    assert "of the windows spared" in repr(results[1]) and "spared" not in repr(results[0])


def test_a_network_that_differs_in_batches_is_asked_whole_batches() -> None:
    """What a window is answered depends on the one beside it, so that only a batch as a whole may be spared."""

    class Neighbours(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = network()

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return self.module(batch) + 1e-7 * batch.flatten(1).mean(1).sum()

    both(attack("pgd"), Neighbours(), window_batch=2)


def test_random_networks_are_always_asked() -> None:
    """A network that says something else each time is nowhere spared."""

    class Random(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = network()

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return self.module(batch + 0.1 * torch.randn_like(batch))

    result = attack("pgd")(model(Random(), allow_random=True), body())
    assert result.windows_spared == 0


@pytest.mark.parametrize("where", [x for x in SETTINGS if x != "slices"])
def test_reach_is_never_too_little(where: str) -> None:
    """No voxel that counts as out of reach changes, or has a derivative, with any voxel of the region."""
    case, settings = body(), SETTINGS[where]
    steps = settings.get("preprocessing", Preprocessing()).on_grid(case.shape, case.affine)
    channels = list(torch.from_numpy(case.image))
    steps = steps.on_image(channels)
    mask = torch.from_numpy(region())
    found = reached(steps, channels, [mask, mask])

    def prepared(images: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.stack([steps.forward_channel(x, n) for n, x in enumerate(images)])

    before = prepared(channels)
    assert found.shape == before.shape[1:]
    after = prepared([torch.where(mask, x + 1, x) for x in channels])
    assert not ((before != after).any(0) & ~found).any()
    leaves = [x.clone().requires_grad_(True) for x in channels]
    seeds = torch.rand(before.shape, generator=torch.Generator().manual_seed(0)) * ~found
    gradients = torch.autograd.grad(prepared(leaves), leaves, seeds)
    assert all(not x[mask].any() for x in gradients)
    if where == "as it is":
        assert torch.equal(found, mask)


def test_nothing_is_kept_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no memory is allowed, windows are asked again; the image is the same."""
    monkeypatch.setattr(sparing, "_KEPT", 0.0)
    little = both(attack("pgd"), network())
    monkeypatch.setattr(sparing, "_KEPT", 100.0)
    assert little.windows_spared < both(attack("pgd"), network()).windows_spared


def test_the_same_means_the_same_bits() -> None:
    """0 and -0 are not the same question, and NaN is; the same bits in another state, or with a graph, neither."""
    state = ["float32"]
    known = Sparing(state=lambda: state[0])
    known.fixed = [True, True]
    crops, logits, batch = torch.zeros(1, 2, 2, 2, 2), torch.ones(1, 3, 2, 2, 2), range(1)
    crops[0, 0, 0, 0, 0] = torch.nan
    known.keep(batch, crops, logits, False, torch.zeros(10**4))
    same = known.known(batch, crops.clone(), False)
    assert same is not None and torch.equal(same, logits)
    assert known.known(batch, crops, True) is None and known.known(range(1, 2), crops, False) is None
    other = crops.clone()
    other[0, 1] *= -1
    assert torch.equal(other[0, 1], crops[0, 1]) and known.known(batch, other, False) is None
    state[0] = "bfloat16"
    assert known.known(batch, crops, False) is None


def test_no_way_back_where_the_loss_is_flat() -> None:
    """Windows in which the loss has no gradient need no second question; the gradient is the same."""
    case = body()
    weights = torch.zeros(3, *SHAPE)
    weights[:, :6, :6, :6] = 1
    found = []
    for spared in (True, False):
        with model(network(), spared).on(case) as bound:
            found.append(bound.differentiate(bound.image, lambda logits: (logits * weights).sum())[1])
            asked, left_out = bound.windows_asked
        assert (left_out > asked) == spared
    assert torch.equal(*found)


def test_progress_goes_by_what_is_asked() -> None:
    """Spared windows take no time, so that progress does not count them once it is known which they are."""
    shares: list[float] = []
    case = body()
    with model(network()).on(case, between_windows=shares.append) as bound:
        allowed = torch.from_numpy(region())[None]
        for _ in range(3):
            bound.expect(allowed)
            shares.clear()
            bound.logits(bound.image)
        assert isinstance(bound, BoundModel) and bound.share_fixed(allowed) > 0.5
    steps = np.diff([*shares, 1.0])
    reached_windows = round(1 / steps[steps > 0].min())
    assert shares[0] == 0 and (steps >= 0).all() and reached_windows < len(shares) / 2


def test_the_first_dice_comes_with_the_first_pass() -> None:
    """Before the way back of the first gradient has begun, the progress says the Dice of the unchanged image."""
    said: list[str] = []
    result = attacks.FGSM(epsilon=0.05)(model(network(), False), body(), progress=lambda done, text: said.append(text))
    first = next(n for n, text in enumerate(said) if "mean Dice" in text)
    assert f"mean Dice {result.trace[0]['dice mean']:.3f}" in said[first] and said[first].startswith("FGSM")
    windows = len(said) // 3
    assert first <= windows + 2 and not any("Dice" in text for text in said[:first])
