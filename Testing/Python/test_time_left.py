"""How far an attack is, and how long it will still take: against a clock that the test turns."""

from __future__ import annotations

import numpy as np
import pytest

from SegAdversarialLib.attacks import make_attack
from SegAdversarialLib.attacks.cost import ANSWER, Cost
from SegAdversarialLib.attacks.engine.progress import Progress
from SegAdversarialLib.errors import Cancelled
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
    wanted = [0, *gradient, *(1 + x for x in gradient), 2 + 0.5 * ANSWER, whole, whole]
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
