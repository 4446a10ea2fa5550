"""Attacks that search in low precision: what is exact stays exact, and what is handed out was judged by the network itself."""

from __future__ import annotations

import itertools
import json
import platform
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

from SegAdversarialLib import Case, attacks, open_model, phantom
from SegAdversarialLib.attacks.engine.dice import DiceMeter
from SegAdversarialLib.attacks.engine.watch import CLOSE, Watch
from SegAdversarialLib.jobs.running import run as run_job
from SegAdversarialLib.jobs.specification import AttackJob
from SegAdversarialLib.model import low_precision, search_precision
from SegAdversarialLib.model.acceleration import Acceleration
from SegAdversarialLib.model.bound_model import BoundModel
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


def counted_searches(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows by one with each gradient that is asked for in the precision of searches."""
    calls, plain = list[str](), BoundModel.search

    def search(self: BoundModel, *arguments: Any) -> Any:
        calls.append("search")
        return plain(self, *arguments)

    monkeypatch.setattr(BoundModel, "search", search)
    return calls


CHANGES = [
    attacks.AdversarialBiasField(steps=4, first_draws=2, restarts=2),
    attacks.AdversarialDeformation(steps=4, first_draws=1, against="prediction", stop_at_drop=0.9),
    attacks.AdversarialAffine(steps=4, first_draws=1),
    attacks.AdversarialChain(steps=4, first_draws=1, epsilon=0.05),
    attacks.FrequencyAttack(steps=4, q_max=40),
]


@pytest.mark.parametrize("attack", CHANGES, ids=lambda x: x.name)
def test_what_changes_an_image_as_a_whole_is_searched_for_in_low_precision_and_judged_by_the_network(
    monkeypatch: pytest.MonkeyPatch, attack: Any
) -> None:
    calls, case = counted_searches(monkeypatch), toy_case((9, 16, 18))
    model = wrapped(tiny_network().float(), LOW)
    result = attack(model, case)
    assert len(calls) == attack.cost.searched == attack.steps * attack.restarts - 1
    assert result.kept_row["dice mean"] == pytest.approx(mean_dice(model, result.adversarial), abs=1e-12)
    assert attack.cost.answers <= result.forward_evaluations <= attack.cost.answers + CLOSE
    again = attack(wrapped(tiny_network().float(), LOW), case)
    np.testing.assert_array_equal(again.adversarial.image, result.adversarial.image)


@pytest.mark.parametrize("attack", CHANGES, ids=lambda x: x.name)
def test_their_searches_are_those_of_single_precision_where_that_is_switched_off(
    monkeypatch: pytest.MonkeyPatch, attack: Any
) -> None:
    case, model = toy_case((9, 16, 18)), wrapped(tiny_network().float(), {"mixed_precision": False})
    found = attack(model, case)
    monkeypatch.setattr(BoundModel, "search", BoundModel.differentiate)
    expected = attack(model, case)
    np.testing.assert_array_equal(found.adversarial.image, expected.adversarial.image)
    assert found.trace == expected.trace and found.forward_evaluations == attack.cost.answers
    with model.on(found.adversarial) as bound:  # the row is of the image that is handed out
        logits = bound.logits(bound.image)
    moved = found.adversarial.label
    assert moved is not None
    meter = DiceMeter(model.head.masks(torch.from_numpy(moved)), model.head.foreground)
    assert found.kept_row["dice mean"] == pytest.approx(meter.mean(model.head.predicted(logits)), abs=1e-12)


def test_the_last_steps_of_the_worst_case_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, attack = counted_searches(monkeypatch), attacks.WorstCase(gradient_budget=20, restarts=2, epsilon=0.1)
    attack(wrapped(tiny_network().float(), LOW), scaled_case())
    assert len(calls) == attack.cost.searched == 2 * (10 - 1) - 1


def test_a_universal_perturbation_is_learned_in_low_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [scaled_case().with_image(scaled_case().image * x) for x in (1.0, 0.9)]
    learned = {}
    for precision in (False, "bfloat16"):
        calls = counted_searches(monkeypatch)
        model = wrapped(tiny_network().float(), {"mixed_precision": precision})
        found = attacks.UniversalPerturbation.learn(model, cases, epochs=3, epsilon=0.1)
        learned[precision] = found.perturbation
        assert len(calls) == 5 and found.perturbation.learned["searches_in"] == (precision or "full")
    plain, low = (x.values for x in learned.values())
    assert 0 < np.mean(np.sign(plain) != np.sign(low)) < 0.1
    rows = [x.learned["by_epoch"] for x in learned.values()]
    assert rows[0][0] != rows[1][0] and rows[0][0]["loss"] == pytest.approx(rows[1][0]["loss"], abs=0.02)


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


def test_an_interrupted_measurement_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(gradient: Any, *_: Any) -> search_precision.Search:
        gradient("bfloat16")
        raise KeyboardInterrupt

    monkeypatch.setattr(search_precision, "WORTH_MEASURING", 1)
    monkeypatch.setattr(search_precision, "quickest", interrupted)
    model = wrapped(tiny_network().float())
    with pytest.raises(KeyboardInterrupt):
        attacks.PGD(steps=3, epsilon=0.1)(model, scaled_case())
    assert model.describe()["acceleration"]["searches_in"] == "auto"


def test_a_single_gradient_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_precision, "WORTH_MEASURING", 1)
    monkeypatch.setattr(search_precision, "quickest", lambda *_: pytest.fail("measured"))
    model = wrapped(tiny_network().float())
    attacks.FGSM(epsilon=0.1)(model, scaled_case())
    assert model.describe()["acceleration"]["searches_in"] == "auto"


@pytest.mark.parametrize("switched", [False, "tf32"])
def test_a_search_that_is_as_the_network_stands_is_not_measured(switched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_precision, "WORTH_MEASURING", 0)
    asked = []
    network = tiny_network().float()
    network.register_forward_hook(lambda *_: asked.append(1))
    model = wrapped(network, {"mixed_precision": switched})
    with model.on(scaled_case()) as bound:
        asked.clear()
        assert bound.settle_search(bound.image, measures=True) == 1.0 and not asked


def test_a_processor_that_emulates_bfloat16_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_precision, "computes_in_bfloat16", lambda: False)
    assert search_precision.that_may_do(torch.device("cpu")) == []
    monkeypatch.setattr(search_precision, "computes_in_bfloat16", lambda: True)
    assert search_precision.that_may_do(torch.device("cpu")) == ["bfloat16"]
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    for flags, computes in (
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"avx512_f": True}, False),
        ({}, False),
    ):
        known = SimpleNamespace(get_capabilities=lambda flags=flags: flags)
        monkeypatch.setattr(torch, "cpu", known)
        assert low_precision.computes_in_bfloat16() is computes


def test_on_a_processor_without_bfloat16_an_attack_is_that_of_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_precision, "computes_in_bfloat16", lambda: False)
    monkeypatch.setattr(search_precision, "WORTH_MEASURING", 1)
    case, attack = scaled_case(), attacks.PGD(steps=4, epsilon=0.1)
    model = wrapped(tiny_network().float())
    found, expected = (attack(x, case) for x in (model, wrapped(tiny_network().float(), {"mixed_precision": False})))
    assert model.describe()["acceleration"]["searches_in"] == "full"
    np.testing.assert_array_equal(found.adversarial.image, expected.adversarial.image)


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
