"""How long a training says that it will still take, against a clock that is turned by hand."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import pytest

from SegAdversarialLib.training.time_left import Remaining

UNITS = {"second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600}


@dataclass
class Training:
    """Epochs that take as long as they are told to, and what was said meanwhile: when, the fraction, and the seconds left."""

    epochs: int
    steps: int
    validations: int = 0
    every: int = 1
    done: int = 0
    warm_up: float = 60.0
    step: float = 2.0
    validation: float = 10.0
    keeping: float = 1.0
    known: bool = True
    now: float = 1000.0
    told: list[tuple[float, float, float | None, bool]] = field(default_factory=list)

    def run(self) -> Training:
        """All of it; what is told is then compared with what was left."""
        counts: dict[str, Any] = {"validations": self.validations, "every": self.every, "clock": lambda: self.now}
        if self.known:
            counts["steps"] = self.steps
        remaining = Remaining(self.epochs, self.done, (0.0, 1.0), self._hear, **counts)
        first = True
        for epoch in range(self.done, self.epochs):
            for n in range(self.steps):
                remaining(n, "case-1")
                self.now += self.step + self.warm_up * first
                first = False
            if self.validations and ((epoch + 1) % self.every == 0 or epoch + 1 == self.epochs):
                for n in range(self.validations):
                    remaining(n, "validating case-2", "validation")
                    self.now += self.validation
            remaining.keeping()
            self.now += self.keeping
            remaining.finished(epoch + 1)
            remaining.steps = self.steps
        return self

    def _hear(self, fraction: float, text: str) -> None:
        found = re.search(r", (at least )?([\d.]+) (\w+?)s? left$", text)
        assert found or not text.endswith("left"), text
        left = float(found[2]) * UNITS[found[3]] if found else None
        self.told.append((self.now, fraction, left, bool(found and found[1])))

    def errors(self) -> list[tuple[float, bool]]:
        """What was told as a share of what was left then, and whether it was said to be the least."""
        return [(left / (self.now - when), least) for when, _, left, least in self.told if left is not None]


def test_the_warm_up_of_the_first_step_is_no_pace() -> None:
    """Told from the second step on; the pace so far would have said thirty times as much."""
    training = Training(epochs=10, steps=20, keeping=0.0).run()
    assert [left for _, _, left, _ in training.told[:2]] == [None, None]
    assert all(0.75 < error < 1.25 for error, _ in training.errors()[:-20])
    assert not any(least for _, least in training.errors())


def test_validations_are_judged_by_their_own_pace() -> None:
    training = Training(epochs=6, steps=4, validations=2, validation=30.0).run()
    errors = training.errors()
    assert [least for _, least in errors[:3]] == [True] * 3 and all(error < 1 for error, _ in errors[:3])
    assert all(0.75 < error < 1.25 and not least for error, least in errors[3:-3])


def test_not_every_epoch_is_validated() -> None:
    training = Training(epochs=7, steps=10, validations=3, every=3).run()
    assert all(0.75 < error < 1.25 for error, least in training.errors()[:-5] if not least)
    assert len(training.errors()) == 7 * 10 + 3 * 3 - 2


def test_a_training_that_is_gone_on_with() -> None:
    training = Training(epochs=10, steps=5, done=6).run()
    assert training.told[0][1] == 0.6
    assert all(0.75 < error < 1.25 for error, _ in training.errors()[:-3])


def test_steps_that_are_counted_in_the_first_epoch() -> None:
    training = Training(epochs=4, steps=10, known=False).run()
    assert [left for _, _, left, _ in training.told[:10]] == [None] * 10
    assert all(0.75 < error < 1.25 for error, _ in training.errors()[:-3])


@pytest.mark.parametrize("training", [Training(3, 1), Training(1, 1, 1), Training(4, 7, 2, 2), Training(2, 3, keeping=99.0)])
def test_the_fraction_never_falls(training: Training) -> None:
    fractions = [fraction for _, fraction, _, _ in training.run().told]
    assert fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] < 1
