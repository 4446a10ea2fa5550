"""How far an attack is, and how long it will still take: against a clock that the test turns."""

from __future__ import annotations

import numpy as np
import pytest

from SegAdversarialLib.attacks import make_attack
from SegAdversarialLib.attacks.cost import ANSWER, Cost
from SegAdversarialLib.attacks.engine.progress import Progress
from SegAdversarialLib.errors import Cancelled
from SegAdversarialLib.jobs.forecast import Forecast
from SegAdversarialLib.jobs.outlook import Outlook
from SegAdversarialLib.jobs.time_left import TimeLeft


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def forecasts(durations: list[float], fractions: list[float]) -> list[tuple[float, float | None, float]]:
    """Each fraction, what was forecast when it was reached, and what really came, when it takes `durations` to reach them."""
    clock = Clock()
    left, found = TimeLeft(clock), []
    left.after(0.0)
    for n, (seconds, fraction) in enumerate(zip(durations, fractions)):
        clock.now += seconds
        found.append((fraction, left.after(fraction), sum(durations[n + 1 :])))
    return found


@pytest.mark.parametrize("steps", [5, 10, 400])
def test_an_even_pace_is_forecast_exactly(steps: int) -> None:
    for fraction, forecast, came in forecasts([3.0] * steps, [n / steps for n in range(1, steps + 1)]):
        if fraction >= 0.2:
            assert forecast == pytest.approx(came, abs=1e-6)


def test_a_slow_beginning_does_not_count_for_ever() -> None:
    """A network that takes a minute to give its first answer, for which a hundredth of the work was planned."""
    found = forecasts([60.0] + [1.0] * 99, [n / 100 for n in range(1, 101)])
    for _fraction, forecast, came in found[19:-1]:
        assert forecast is not None and came / 1.5 <= forecast <= came * 1.5
    # all time and all work would say: 79 seconds for 80 steps, and as much again for the first
    assert found[19][1] == pytest.approx(80, rel=0.01)


def test_what_passes_before_the_first_work_is_no_work() -> None:
    clock = Clock()
    left = TimeLeft(clock)
    clock.now += 500
    assert left.after(0.0) is None
    clock.now += 10
    assert left.after(0.2) == pytest.approx(40)


def test_nothing_is_forecast_from_nothing() -> None:
    left = TimeLeft(Clock())
    assert left.after(0.0) is None and left.after(0.01) is None and left.after(0.5) is None


def test_windows_of_gradients_and_answers_are_counted() -> None:
    told: list[float] = []
    progress = Progress(Cost(gradients=2, answers=1), lambda fraction, message: told.append(fraction), None)
    whole = 2 + ANSWER
    progress.report(0.0, "step 1")
    for _gradient in range(2):
        progress.begin(Cost(gradients=1))
        for share in (0.0, 0.5, 0.0, 0.5):
            progress.between_windows(share)
        progress.end()
    progress.begin(Cost(answers=1))
    progress.between_windows(0.5)
    progress.end()
    progress.report(0.1, "its own count would fall back")
    back = 1 - ANSWER
    gradient = [0, 0.5 * ANSWER, ANSWER, ANSWER + 0.5 * back, 1]
    wanted = [0, 0, *gradient, *(1 + x for x in gradient), 2 + 0.5 * ANSWER, whole, whole]
    assert told == pytest.approx([x / whole for x in wanted])


def test_an_attack_that_asks_no_network_counts_by_itself() -> None:
    told: list[float] = []
    progress = Progress(Cost(), lambda fraction, message: told.append(fraction), None)
    progress.report(0.25, "channel 1")
    progress.report(0.5, "channel 2")
    assert told == [0.25, 0.5]


def test_cancelling_is_heard_between_windows() -> None:
    progress = Progress(Cost(gradients=1), None, lambda: True)
    with pytest.raises(Cancelled):
        progress.between_windows(0.5)


@pytest.mark.parametrize("window", [None, (16, 16, 16)])
@pytest.mark.parametrize("restarts", [1, 3])
def test_the_progress_of_an_attack_never_falls_and_ends_near_one(window: tuple[int, ...] | None, restarts: int) -> None:
    import torch

    from SegAdversarialLib import Case, SegmentationModel

    network = torch.nn.Conv3d(1, 2, 1)
    classes = {0: "background", 1: "tumour"}
    model = SegmentationModel.from_network(network, channels=["T1"], classes=classes, window=window)
    generator = np.random.default_rng(0)
    image = generator.uniform(1, 2, (1, 32, 32, 32)).astype(np.float32)
    case = Case(image, ("T1",), np.eye(4), (image[0] > 1.5).astype(np.int16))
    told: list[float] = []
    attack = make_attack("pgd", {"steps": 4, "restarts": restarts})
    attack(model, case, progress=lambda fraction, message: told.append(fraction))
    assert told == sorted(told) and told[0] == 0 and told[-1] == pytest.approx(1)
    distinct = len(set(told))
    # with windows there are many moments within a gradient, without them one for each
    assert distinct > 20 * restarts if window else distinct >= 4 * restarts


COSTS = {"first": Cost(gradients=40, answers=1), "second": Cost(gradients=20, answers=1)}


def job_of(seconds: dict[str, float], expected: Forecast, steps: int = 20) -> list[tuple[float, float, float]]:
    """Share of the time, forecast and what came, of two attacks of which each gradient and each part takes so long."""
    clock, told = Clock(), []
    outlook = Outlook(expected, lambda fraction, message, left: told.append((clock.now, fraction, left)), clock)
    for cost in COSTS.values():
        searching = cost.seconds(seconds["gradient"], seconds["answer"])
        for part in (searching, seconds["answer"], seconds["measuring"], seconds["writing"]):
            for step in range(steps):
                clock.now += part / steps
                outlook.within((step + 1) / steps, "")
            outlook.end()
    whole = clock.now - 1000
    fractions = [fraction for _now, fraction, _left in told]
    assert fractions == sorted(fractions) and fractions[-1] < 1
    return [((now - 1000) / whole, left, clock.now - now) for now, _fraction, left in told]


def test_what_was_expected_rightly_is_forecast_exactly() -> None:
    seconds = {"gradient": 2.0, "answer": 0.7, "measuring": 9.0, "writing": 3.0}
    for _share, forecast, came in job_of(seconds, Forecast(COSTS, *seconds.values())):
        assert forecast == pytest.approx(came, abs=1e-6)


@pytest.mark.parametrize("wrong", ["gradient", "answer"])
@pytest.mark.parametrize("factor", [0.2, 5])
def test_a_wrong_guess_of_the_network_is_corrected_by_a_fifth(wrong: str, factor: float) -> None:
    seconds = {"gradient": 2.0, "answer": 0.7, "measuring": 9.0, "writing": 3.0}
    guessed = {**seconds, wrong: seconds[wrong] * factor}
    for share, forecast, came in job_of(seconds, Forecast(COSTS, *guessed.values())):
        if share >= 0.2 and came > 5:
            assert came / 1.5 <= forecast <= came * 1.5


def test_what_the_first_attack_took_is_expected_of_the_second() -> None:
    seconds = {"gradient": 2.0, "answer": 0.7, "measuring": 30.0, "writing": 10.0}
    found = job_of(seconds, Forecast(COSTS, 2.0, 0.7, 1.0, 1.0))
    second = [x for x in found if x[2] < 20 * 2.0 + 2 * 0.7 + 40]
    assert len(second) == 80
    for _share, forecast, came in second:
        assert forecast == pytest.approx(came, abs=1e-6)


def test_a_machine_that_is_slower_than_when_it_was_measured_is_slower_in_all_that_comes() -> None:
    seconds = {"gradient": 2.0, "answer": 0.7, "measuring": 9.0, "writing": 3.0}
    thrice = {name: 3 * x for name, x in seconds.items()}
    for share, forecast, came in job_of(thrice, Forecast(COSTS, *seconds.values(), measured_gradients=2)):
        if share >= 0.2:
            assert forecast == pytest.approx(came, abs=1e-6)


def test_a_first_gradient_that_was_slow_makes_nothing_else_faster() -> None:
    """The one gradient that was measured also got memory for the others."""
    seconds = {"gradient": 1.0, "answer": 0.5, "measuring": 30.0, "writing": 10.0}
    slow = {**seconds, "gradient": 3.0}
    for share, forecast, came in job_of(seconds, Forecast(COSTS, *slow.values(), measured_gradients=2)):
        if share >= 0.2:
            assert forecast == pytest.approx(came, rel=0.01)


def test_an_attack_that_works_by_itself_says_nothing_about_the_network() -> None:
    """Warping makes a step three times as long: neither measuring and writing nor another attack take longer for that."""
    seconds = {"gradient": 2.0, "answer": 0.7, "measuring": 9.0, "writing": 3.0}
    clock, told = Clock(), list[tuple[float, float]]()
    expected = Forecast(COSTS, *seconds.values(), measured_gradients=2, own_paces={"first": "deformation"})
    outlook = Outlook(expected, lambda fraction, message, left: told.append((clock.now, left)), clock)
    for name, slower in (("first", 3), ("second", 1)):
        for kind, part in expected.seconds_of(name).items():
            for step in range(20):
                clock.now += part / 20 * (slower if kind == "searching" else 1)
                outlook.within((step + 1) / 20, "")
            outlook.end()
    for now, left in told[6:]:  # from three tenths of the first search on
        assert left == pytest.approx(clock.now - now, abs=1e-6)
    attacks = {"moved": make_attack("deformation"), "k": make_attack("pgd"), "soon": make_attack("pgd", {"stop_at_drop": 0.3})}
    model, case = a_model_and_a_case()
    clean = model.predict(case)  # type: ignore[attr-defined]
    found = Forecast.measured(attacks, model, case, clean, 0.1)  # type: ignore[arg-type]
    assert found.own_paces == {"moved": "deformation", "soon": "pgd"}


def a_model_and_a_case() -> tuple[object, object]:
    """A threshold on the one channel, and an image around it."""
    import torch

    from SegAdversarialLib import Case, SegmentationModel

    network = torch.nn.Conv3d(1, 2, 1)
    torch.nn.init.constant_(network.weight[0], -1.0)
    torch.nn.init.constant_(network.weight[1], 1.0)
    torch.nn.init.constant_(network.bias[0], 3.0)
    torch.nn.init.constant_(network.bias[1], 0.0)
    model = SegmentationModel.from_network(network.eval(), channels=["T1"], classes={0: "background", 1: "tumour"})
    image = np.random.default_rng(0).uniform(1, 2, (1, 16, 16, 16)).astype(np.float32)
    return model, Case(image, ("T1",), np.eye(4), (image[0] > 1.5).astype(np.int16))


@pytest.mark.parametrize(("epsilon", "within"), [(0.5, True), (1e-4, False)])
def test_the_least_and_the_most_that_a_least_budget_asks(epsilon: float, within: bool) -> None:
    """A search whose first attack fails goes on once; one that succeeds lies between one attack and the most."""
    model, case = a_model_and_a_case()
    attack = make_attack("least-budget", {"method": {"attack": "worst-case", "epsilon": epsilon}})
    result = attack(model, case)  # type: ignore[arg-type]
    asked = Cost(result.gradient_evaluations, result.forward_evaluations)
    assert (result.thresholds[0].upper is not None) == within
    if within:
        assert asked.gradients < attack.cost.gradients and asked.answers <= attack.cost.answers
    else:
        # the clean answer is asked once
        assert (asked.gradients, asked.answers) == (2 * 15, 2 * attack.least_cost.answers - 1)


def test_a_forecast_of_what_may_end_early_says_from_when_to_when() -> None:
    model, case = a_model_and_a_case()
    attacks = {"least-budget": make_attack("least-budget", {"against": "prediction"}), "pgd": make_attack("pgd", {"steps": 9})}
    clean = model.predict(case)  # type: ignore[attr-defined]
    found = Forecast.measured(attacks, model, case, clean, 0.25)  # type: ignore[arg-type]
    least, most = (sum((x.least_cost if n else x.cost for x in attacks.values()), Cost()) for n in (1, 0))
    asked = f"of {least.gradients} to {most.gradients} gradients and {least.answers} to {most.answers} answers"
    assert (least.gradients, most.gradients) == (15 + 9, 8 * 15 + 9)
    assert f"2 attacks {asked} of the network: from " in found.sentence() and "as it may end early" in found.sentence()
    assert Forecast(COSTS, 2.0, 0.7, 9.0, 3.0).sentence().endswith("about 2 minutes on this case.")
    stopping = make_attack("pgd", {"steps": 40, "stop_at_drop": 0.3, "against": "prediction"})
    assert (stopping.least_cost.gradients, stopping.cost.gradients) == (1, 40)


def test_nine_tenths_stand_for_what_will_probably_be_asked() -> None:
    told: list[float] = []
    progress = Progress(Cost(gradients=20), lambda fraction, message: told.append(fraction), None, "", Cost(gradients=10))
    for _gradient in range(20):
        progress.begin(Cost(gradients=1))
        progress.end()
    assert told == pytest.approx([0.09 * n for n in range(11)] + [0.9 + 0.01 * n for n in range(1, 11)])


def test_gradients_of_a_search_count_for_what_they_take() -> None:
    told: list[float] = []
    cost = Cost(gradients=11, answers=1, searched=10)
    progress = Progress(cost, lambda fraction, message: told.append(fraction), None)
    progress.begin(Cost(gradients=1))
    progress.end()
    assert told[-1] == pytest.approx(1 / (11 + ANSWER))
    progress.weigh(0.2)
    progress.begin(Cost(gradients=1, searched=1))
    progress.between_windows(1.0)
    assert told[-1] == pytest.approx((1 + 0.2 * ANSWER) / (1 + 10 * 0.2 + ANSWER))
    progress.end()
    assert told[-1] == pytest.approx((1 + 0.2) / (1 + 10 * 0.2 + ANSWER))
    assert cost.seconds(5.0, 2.0, 1.0) == 5 + 10 * 1 + 2 and cost.seconds(5.0, 2.0) == 11 * 5 + 2
    assert cost.times(3) == Cost(33, 3, 30) and cost + cost == Cost(22, 2, 20)


@pytest.mark.parametrize(("steps", "restarts"), [(1, 1), (4, 1), (4, 3)])
def test_all_gradients_of_a_search_but_its_first_are_searched(
    steps: int, restarts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from SegAdversarialLib.model.bound_model import BoundModel

    counts, search = [0], BoundModel.search

    def counting(self: BoundModel, *given: object) -> object:
        counts[0] += 1
        return search(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(BoundModel, "search", counting)
    model, case = a_model_and_a_case()
    attack = make_attack("pgd", {"steps": steps, "restarts": restarts})
    attack(model, case)  # type: ignore[arg-type]
    assert counts == [attack.cost.searched] == [steps * restarts - 1]


def test_a_forecast_counts_on_a_search_in_low_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    from SegAdversarialLib.model import search_precision

    monkeypatch.setattr(search_precision, "WORTH_MEASURING", 1)
    monkeypatch.setattr(search_precision, "quickest", lambda *_: search_precision.Search("bfloat16", 0.25))
    model, case = a_model_and_a_case()
    clean = model.predict(case)  # type: ignore[attr-defined]
    found = Forecast.measured({"pgd": make_attack("pgd", {"steps": 9})}, model, case, clean, 0.4)  # type: ignore[arg-type]
    assert found.search == 0.25 and found.gradient == pytest.approx(1.0)
    assert found.seconds_of("pgd")["searching"] == pytest.approx(1 + 8 * 0.25 + 0.4)
    assert model.settled_acceleration.mixed_precision == "bfloat16"  # type: ignore[attr-defined]


def test_the_first_gradient_and_answer_are_no_measure_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """They get memory, and make plans for all others: here the first of each takes five times as long."""
    from SegAdversarialLib.model.bound_model import BoundModel

    model, case = a_model_and_a_case()
    clean, clock, count = model.predict(case), Clock(), [0]  # type: ignore[attr-defined]
    differentiate = BoundModel.differentiate

    def slowly(self: BoundModel, *given: object) -> object:
        count[0] += 1
        clock.now += 10 if count[0] == 1 else 2
        return differentiate(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(BoundModel, "differentiate", slowly)
    for steps, gradient, answer, asked in ((39, 10, 4, 1), (40, 2, 1, 2)):
        count[0] = 0
        attacks = {"pgd": make_attack("pgd", {"steps": steps})}
        found = Forecast.measured(attacks, model, case, clean, 4.0, clock=clock)  # type: ignore[arg-type]
        assert (found.gradient, found.answer, count[0]) == (gradient, answer, asked)
