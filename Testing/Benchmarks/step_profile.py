"""Where the processor's time of an attack's step goes: the network, the loss, the step, the trace, and the rest.

    python Testing/Benchmarks/step_profile.py --sizes 64 96 --attacks pgd apgd worst-case ifgsm --precisions bfloat16 false

Each part of a step is some functions of the library; their seconds are their own, without those of the parts inside them. What
an attack does once is left out: the seconds are those of a longer attack less those of a shorter one, for each step.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from SegAdversarialLib import attacks, open_model, phantom
from SegAdversarialLib.attacks.apgd import _Stage
from SegAdversarialLib.attacks.engine.momentum import Momentum
from SegAdversarialLib.attacks.engine.run import AttackRun
from SegAdversarialLib.attacks.engine.watch import Watch
from SegAdversarialLib.attacks.gradient import GradientAttack
from SegAdversarialLib.model import bound_model, sliding_window
from SegAdversarialLib.model.acceleration import AcceleratedNetwork
from SegAdversarialLib.objectives import BoundJoint, BoundObjective

STEPS = (3, 9)
"""Of the two attacks; APGD counts its checks by them, so that they do the same in each step."""

PARTS: dict[str, tuple[tuple[Any, str], ...]] = {
    "network there": ((AcceleratedNetwork, "__call__"),),
    "network back": ((bound_model, "input_gradient"), (sliding_window, "input_gradient")),
    "loss": ((BoundObjective, "__call__"), (BoundJoint, "__call__")),
    "loss back": ((bound_model.BoundModel, "_upstream"),),
    "prepare": ((bound_model.BoundModel, "_prepare"), (bound_model.BoundModel, "_prepare_by_channels")),
    "prepare back": ((bound_model.BoundModel, "_pull_back_preparation"),),
    "windows": ((sliding_window.SlidingWindow, "__call__"), (sliding_window.SlidingWindow, "pull_back")),
    "checks": ((bound_model, "check_answers"), (bound_model, "check_gradient")),
    "step and projection": ((GradientAttack, "_step"), (AttackRun, "project"), (Momentum, "__call__"), (_Stage, "_next")),
    "trace": ((AttackRun, "record"),),
    "judging": ((Watch, "see"),),
}
NETWORKS = ("network there", "network back")


class Clock:
    """Seconds of the processor by part, each without those of the parts inside it."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()
        self._open: list[str] = ["rest"]
        self._since = time.process_time()

    def turn(self, part: str | None) -> None:
        """A part begins; None: the last one that has begun ends."""
        now = time.process_time()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now
        if part is None:
            self._open.pop()
        else:
            self._open.append(part)

    def taken(self) -> Counter[str]:
        """The seconds since the last call."""
        self.turn("rest")
        self.turn(None)
        found, self.seconds = self.seconds, Counter()
        return found

    def watch(self, owner: Any, name: str, part: str) -> Callable[[], None]:
        """Count a function's seconds from now on; what is given back ends that."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def timed(*given: Any, **named: Any) -> Any:
            self.turn(part)
            try:
                return function(*given, **named)
            finally:
                self.turn(None)

        setattr(owner, name, timed)
        return lambda: setattr(owner, name, function)


def profile(name: str, size: int, precision: Any, rounds: int) -> Counter[str]:
    """Seconds of a step by part, each part in its quickest of some rounds."""
    case = phantom.subject(seed=0, shape=(size,) * 3)
    model = open_model("builtin:brain-tumour-phantom", device="cpu", acceleration={"mixed_precision": precision})
    field = "gradient_budget" if name == "worst-case" else "steps"
    few, more = (attacks.ATTACKS[name](**{field: steps, "epsilon": 0.02}) for steps in STEPS)
    few(model, case)
    clock, ends = Clock(), []
    for part, functions in PARTS.items():
        ends += [clock.watch(owner, function, part) for owner, function in functions]
    least: list[dict[str, float]] = [{}, {}]
    try:
        for _ in range(rounds):
            for attack, known in zip((few, more), least):
                clock.taken()
                attack(model, case)
                known |= {part: min(seconds, known.get(part, seconds)) for part, seconds in clock.taken().items()}
    finally:
        for end in ends:
            end()
    return Counter({part: (seconds - least[0][part]) / (STEPS[1] - STEPS[0]) for part, seconds in least[1].items()})


def main() -> None:
    """One line for each attack, size and precision."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 96])
    parser.add_argument("--attacks", nargs="+", default=["ifgsm", "pgd", "apgd", "worst-case"])
    parser.add_argument("--precisions", nargs="+", default=["bfloat16", "false"])
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for size in chosen.sizes:
        for precision in chosen.precisions:
            for name in chosen.attacks:
                seconds = profile(name, size, {"false": False}.get(precision, precision), chosen.rounds)
                whole = sum(seconds.values())
                share = 1 - sum(seconds[x] for x in NETWORKS) / whole
                parts = ", ".join(f"{part} {1e3 * x:.1f}" for part, x in seconds.most_common())
                print(f"{size}^3 {precision} {name}: {1e3 * whole:.0f} ms, not the network's {share:.3f}: {parts}", flush=True)


if __name__ == "__main__":
    main()
