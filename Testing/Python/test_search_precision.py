"""Attacks that search in low precision: what is exact stays exact, and what is handed out was judged by the network itself."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from acceleration_helpers import answers, difference, searched, wrapped
from conftest import tiny_network, toy_case
from torch import nn
from torch.nn import functional

from SegAdversarialLib import Case, attacks, open_model, phantom
from SegAdversarialLib.attacks.engine.watch import CLOSE, Watch
from SegAdversarialLib.jobs.running import run as run_job
from SegAdversarialLib.jobs.specification import AttackJob
from SegAdversarialLib.model import low_precision, search_precision
from SegAdversarialLib.model.acceleration import Acceleration
from SegAdversarialLib.model.bound_model import BoundModel
from SegAdversarialLib.model.low_precision import LowPrecision
from SegAdversarialLib.objectives import SoftDice

BUILT_IN = "builtin:brain-tumour-phantom"
LOW = {"mixed_precision": "bfloat16"}


def scaled_case() -> Case:
    case = toy_case((9, 16, 18))
    return case.with_image((case.image - 300) / 80)


def mean_dice(model: Any, case: Case) -> float:
    """Counted by hand on what the network says."""
    found, label = model.segment(case), case.label
    assert label is not None
    values = []
    for n in model.head.labels[1:]:
        a, b = found == n, label == n
        values.append(2 * (a & b).sum() / (a.sum() + b.sum()) if (a | b).any() else 1.0)
    return float(np.mean(values))


def test_answers_and_gradients_that_are_handed_out_do_not_change_by_a_bit() -> None:
    network = tiny_network().float()
    expected = answers(wrapped(network, {"mixed_precision": False}))
    for switches in (LOW, {"mixed_precision": "float16"}, {"mixed_precision": "auto"}):
        for found, wanted in zip(answers(wrapped(network, switches)), expected):
            np.testing.assert_array_equal(found, wanted)
    for found, wanted in zip(searched(wrapped(network, {"mixed_precision": False})), expected):
        np.testing.assert_array_equal(found, wanted)
    assert 0 < difference(searched(wrapped(network, LOW))[1], expected[1]) < 0.05


@pytest.mark.parametrize("switches", [{"mixed_precision": False}, {}])
def test_small_or_switched_off_searches_are_those_of_single_precision(
    monkeypatch: pytest.MonkeyPatch, switches: dict[str, Any]
) -> None:
    case, network, attack = scaled_case(), tiny_network().float(), attacks.APGD(steps=5, epsilon=0.1)
    found = attack(wrapped(network, switches), case)
    monkeypatch.setattr(BoundModel, "search", BoundModel.differentiate)
    expected = attack(wrapped(network, {"mixed_precision": False}), case)
    np.testing.assert_array_equal(found.adversarial.image, expected.adversarial.image)
    assert found.trace == expected.trace and found.forward_evaluations == expected.forward_evaluations


@pytest.mark.parametrize(
    "attack",
    [
        attacks.PGD(steps=5, epsilon=0.1, keep="best"),
        attacks.APGD(steps=6, epsilon=0.1, restarts=2, norm="l2"),
        attacks.WorstCase(gradient_budget=5, epsilon=0.1, quantize=True),
    ],
    ids=lambda x: x.name,
)
def test_what_is_handed_out_is_judged_by_the_network_itself(attack: Any) -> None:
    case = toy_case((9, 16, 18))
    model = wrapped(tiny_network().float(), LOW)
    result = attack(model, case)
    assert result.kept_row["dice mean"] == pytest.approx(mean_dice(model, result.adversarial), abs=1e-12)
    assert result.trace[0]["dice mean"] == pytest.approx(mean_dice(model, case), abs=1e-12)
    assert result.gradient_evaluations == attack.cost.gradients
    assert attack.cost.answers <= result.forward_evaluations <= attack.cost.answers + CLOSE + 1
    again = attack(wrapped(tiny_network().float(), LOW), case)
    np.testing.assert_array_equal(again.adversarial.image, result.adversarial.image)


class Run:
    """An attack at work whose search says one thing of an image, and whose network another."""

    def __init__(self, exact: dict[float, float]) -> None:
        self.exact, self.asked, self.trace, self.snapshots = exact, list[float](), list[dict[str, Any]](), list[Any]()
        self.is_rough = True

    def record(self, restart: int, iteration: int, loss: float, logits: torch.Tensor, image: torch.Tensor, *_: Any) -> None:
        self.trace.append({"restart": restart, "iteration": iteration, "loss": loss, "says": float(logits)})

    def finish(self, image: torch.Tensor) -> torch.Tensor:
        return image

    def ask(self, image: torch.Tensor) -> torch.Tensor:
        self.asked.append(float(image))
        return torch.tensor(self.exact[float(image)])


def watched(run: Run, rough: dict[float, float], enough: float | None = None) -> Watch:
    """Every image, by its name, with the score that the search gives it."""
    watch = Watch(
        cast(Any, run),
        lambda loss, logits: (run.trace[-1]["says"], loss),
        best_step=True,
        enough=enough,
        steps=len(rough),
        snapshot_every=0,
    )
    watch.begin(0)
    for n, (name, score) in enumerate(rough.items()):
        watch.see(n, score, torch.tensor(score), torch.tensor(name), loss_at=float)
    return watch


def test_close_candidates_are_judged_again() -> None:
    run = Run({1.0: 0.45, 2.0: 0.50, 3.0: 0.90})
    image = watched(run, {3.0: 0.20, 2.0: 0.49, 1.0: 0.50}).result().image
    assert float(image) == 2.0 and run.asked == [1.0, 2.0]  # 3 is further behind than the search was wrong
    assert [row["says"] for row in run.trace] == pytest.approx([0.20, 0.50, 0.45])
    assert run.trace[1]["loss"] == pytest.approx(0.50)


def test_no_more_than_a_few_are_judged_again() -> None:
    names = [float(n) for n in range(1, 8)]
    run = Run({name: 0.1 for name in names})
    watched(run, {name: 0.5 for name in names}).result()
    assert len(run.asked) == CLOSE


def test_an_early_end_is_confirmed() -> None:
    run = Run({1.0: 0.4, 2.0: 0.6})
    assert not watched(run, {1.0: 0.55}, enough=0.5).is_enough
    watch = watched(run, {1.0: 0.55, 2.0: 0.56}, enough=0.5)
    assert watch.is_enough and float(watch.result().image) == 2.0


@pytest.mark.parametrize("shape", [(1, 3, 5, 6, 7), (2, 3, 5, 6, 7), (2, 3, 6, 7)])
@pytest.mark.parametrize("affine", [False, True])
def test_a_norm_in_another_memory_order_is_the_same_norm(shape: tuple[int, ...], affine: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias = (torch.randn(3, generator=generator).double() if affine else None for _ in range(2))
    image = torch.randn(shape, generator=generator).double().requires_grad_(True)
    seed = torch.randn(shape, generator=generator).double()
    found = low_precision._instance_norm(image, weight=weight, bias=bias)
    expected = functional.instance_norm(image, weight=weight, bias=bias)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad(x, image, seed)[0] for x in (found, expected)]
    torch.testing.assert_close(*gradients)


class Mixture(nn.Module):
    """Layers that have another way in low precision, and weights that are no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv3d(2, 8, 3, stride=2, padding=1)
        self.norm, self.act = nn.InstanceNorm3d(8, affine=True), nn.PReLU(init=0.1)
        self.up, self.many = nn.ConvTranspose3d(8, 3, 2, stride=2), nn.PReLU(3)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        found = self.many(self.up(self.act(self.norm(self.down(image)))))
        return functional.conv3d(found, self.up.weight.mean((0, 2, 3, 4)).diag()[..., None, None, None])


@pytest.mark.parametrize("scripted", [False, True])
def test_low_precision_says_nearly_the_same(scripted: bool) -> None:
    torch.manual_seed(0)
    network = Mixture().eval().requires_grad_(False)
    image = torch.randn(2, 2, 8, 10, 12).requires_grad_(True)
    asked = torch.jit.trace(network, image.detach()) if scripted else network
    low = LowPrecision(asked, torch.bfloat16, torch.device("cpu"))
    found, expected = low(image), network(image)
    assert found.dtype == torch.bfloat16
    seed = torch.randn(expected.shape)
    gradients = [torch.autograd.grad((x.float() * seed).sum(), image)[0] for x in (found, expected)]
    for a, b in ((found.detach().float(), expected.detach()), gradients):
        assert 1e-5 < float(torch.linalg.vector_norm(a - b) / torch.linalg.vector_norm(b)) < 0.05


def test_a_layer_that_wants_single_precision_has_it() -> None:
    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv3d(2, 3, 1), nn.Conv3d(3, 2, 1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            found = self.first(image)
            with torch.autocast("cpu", enabled=False):
                return self.last(found.float())

    network = Careful().requires_grad_(False)
    image = torch.randn(1, 2, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    found = LowPrecision(network, torch.bfloat16, torch.device("cpu"))(image)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, network(image), rtol=0.05, atol=0.05)


def test_weights_that_move_are_cast_anew() -> None:
    network = nn.Conv3d(2, 2, 1, bias=False).requires_grad_(False)
    low = LowPrecision(network, torch.bfloat16, torch.device("cpu"))
    before = low(torch.ones(1, 2, 4, 4, 4)).clone()
    network.weight.mul_(2)
    torch.testing.assert_close(low(torch.ones(1, 2, 4, 4, 4)), 2 * before)


def clock_of(*needed: float) -> Callable[[], float]:
    """A clock by which one call after another takes these seconds."""
    times = itertools.accumulate(x for seconds in needed for x in (0.0, seconds))
    return lambda: next(times)


@pytest.mark.parametrize(
    ("needed", "found", "share"),
    [
        ((1.0, 0.9, 0.5, 1.0, 0.9, 1.0, 0.9, 1.0), "bfloat16", 0.5),
        ((1.0, 0.5, 0.9, 0.6, 0.9, 1.0, 0.9, 1.0), "full", 1.0),  # 0.5 against the least of all, 0.6
        ((9.0, 4.0, 3.0), "bfloat16", 1 / 3),  # so long that once is enough
    ],
)
def test_what_is_clearly_quicker_is_used(needed: tuple[float, ...], found: str, share: float) -> None:
    gradient = torch.ones(3)
    cpu = torch.device("cpu")
    decided = search_precision.quickest(lambda x: gradient, ["bfloat16"], cpu, clock_of(*needed))
    assert decided.precision == found and decided.share == pytest.approx(share)


def test_what_leads_elsewhere_or_fails_is_not_used() -> None:
    def elsewhere(precision: str) -> torch.Tensor:
        return torch.tensor([1.0, 1.0 if precision == "full" else -0.5])

    def failing(precision: str) -> torch.Tensor:
        if precision != "full":
            raise RuntimeError("no such kernel")
        return torch.ones(2)

    for gradient in (elsewhere, failing):
        clock = clock_of(*[1.0, 0.1] * 9)
        assert search_precision.quickest(gradient, ["bfloat16"], torch.device("cpu"), clock) == ("full", 1.0)


def test_a_network_that_fails_in_low_precision_goes_on_without(caplog: pytest.LogCaptureFixture) -> None:
    class Picky(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = tiny_network().float()

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.network(image)
            if found.dtype == torch.bfloat16:
                raise RuntimeError("not implemented for 'BFloat16'")
            return found

    case, attack = scaled_case(), attacks.PGD(steps=4, epsilon=0.1)
    found, expected = (attack(wrapped(Picky(), switches), case) for switches in (LOW, {"mixed_precision": False}))
    np.testing.assert_array_equal(found.adversarial.image, expected.adversarial.image)
    said = [x.message for x in caplog.records if "does not run with" in x.message]
    assert len(said) == 1 and "mixed_precision" in said[0] and "BFloat16" in said[0]


def test_what_was_measured_stands_in_the_job_and_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = list[str]()

    def measure(gradient: Any, precisions: Any, device: Any) -> search_precision.Search:
        measured.append("once")
        return search_precision.Search("bfloat16", 0.3)

    monkeypatch.setattr(search_precision, "WORTH_MEASURING", 1)
    monkeypatch.setattr(search_precision, "quickest", measure)
    monkeypatch.setattr(search_precision, "_decided", {})
    job = AttackJob(
        case={"phantom": {"seed": 3, "shape": (32, 32, 32)}},  # type: ignore[arg-type]
        model={"path": BUILT_IN, "device": "cpu"},  # type: ignore[arg-type]
        attacks=[{"attack": "pgd", "steps": 3}],
        output=str(tmp_path / "out"),
    )
    run_job(job)
    written = json.loads((tmp_path / "out" / "job.json").read_text(encoding="utf-8"))
    chosen = written["model"]["changes"]["acceleration"]
    assert chosen == {**Acceleration().model_dump(), "mixed_precision": "bfloat16"} and measured == ["once"]
    record = json.loads((tmp_path / "out" / "pgd" / "result.json").read_text(encoding="utf-8"))
    assert "bfloat16" in json.dumps(record)
    run_job(AttackJob(**{**written, "output": str(tmp_path / "again")}))
    assert measured == ["once"]
    first, second = ((tmp_path / x / "pgd" / "trace.csv").read_text(encoding="utf-8") for x in ("out", "again"))
    assert first == second


def test_a_file_is_measured_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = list[str]()
    monkeypatch.setattr(search_precision, "WORTH_MEASURING", 1)
    monkeypatch.setattr(search_precision, "quickest", lambda *_: measured.append("once") or search_precision.Search())
    monkeypatch.setattr(search_precision, "_decided", {})
    case = phantom.subject(seed=3, shape=(32, 32, 32))
    for _ in range(2):
        model = open_model(BUILT_IN, device="cpu")
        assert model.settled_acceleration == model.acceleration
        attacks.PGD(steps=3)(model, case)
        assert model.settled_acceleration.mixed_precision is False
        assert model.describe()["acceleration"]["searches_in"] == "full"
    assert measured == ["once"]


def test_a_single_gradient_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_precision, "WORTH_MEASURING", 1)
    monkeypatch.setattr(search_precision, "quickest", lambda *_: pytest.fail("measured"))
    model = wrapped(tiny_network().float())
    attacks.FGSM(epsilon=0.1)(model, scaled_case())
    assert model.describe()["acceleration"]["searches_in"] == "auto"


def test_a_processor_that_emulates_bfloat16_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_precision, "computes_in_bfloat16", lambda: False)
    assert search_precision.that_may_do(torch.device("cpu")) == []
    monkeypatch.setattr(search_precision, "computes_in_bfloat16", lambda: True)
    assert search_precision.that_may_do(torch.device("cpu")) == ["bfloat16"]
    known = SimpleNamespace(get_capabilities=lambda: {"avx512_bf16": True})
    monkeypatch.setattr(torch, "cpu", known)
    assert low_precision.computes_in_bfloat16()


def test_a_programs_copy_stays_while_its_weights_are_the_same() -> None:
    case, made = scaled_case(), []
    program = torch.jit.trace(tiny_network().float(), torch.from_numpy(case.image)[None])
    model = wrapped(program, LOW)
    loss = SoftDice(case.label).bind(model.head, model.device, model.dtype)
    for scale in (1.0, 1.0, 0.5):
        with torch.no_grad():
            if scale != 1.0:
                next(program.parameters()).mul_(scale)
        with model.on(case) as bound:
            gradient = bound.search(bound.image, loss)[1]
            made.append(model._accelerated._low)
            assert gradient.is_contiguous()
    assert made[0] is made[1] and made[1] is not made[2]
