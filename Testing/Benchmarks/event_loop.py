"""How long Slicer's window does not answer: `python Testing/Benchmarks/event_loop.py [size ...]`.

Drives the real panel with the real worker in the host, off screen, on phantoms of the sizes given (64 and 128 unless given):
FGSM on four channels. A timer of 5 ms notes the longest time between two of its ticks while the nodes are written to files,
while the worker works, and while the result is added to the scene. What is promised is less than 100 ms while the worker
works; adding a large result to the scene is one step (as a whole or not at all) and takes what it takes.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROMISE = 0.1


class Watch:
    """The longest silence of the event loop in each phase."""

    def __init__(self) -> None:
        self.longest = {"writing files": 0.0, "worker at work": 0.0, "adding nodes": 0.0}
        self.phase = "writing files"
        self._last = time.monotonic()

    def tick(self) -> None:
        """Called by the timer."""
        self.note()

    def note(self) -> None:
        """The event loop turns now."""
        now = time.monotonic()
        self.longest[self.phase] = max(self.longest[self.phase], now - self._last)
        self._last = now

    def enter(self, phase: str) -> None:
        """Another phase begins."""
        self.note()
        self.phase = phase


def measure(host: Any, panel: Any, size: int) -> dict[str, float]:
    """Attack a phantom of this size and return the longest silence of each phase, in seconds."""
    import qt
    import slicer
    from SegAdversarialGui.exchange import AttackTask
    from SegAdversarialGui.runner import Listener

    from SegAdversarialLib import phantom, scene

    slicer.mrmlScene.Clear(0)
    host.processEvents(0.2)
    case = phantom.subject(seed=7, shape=(size,) * 3)
    scene.add_case(case)
    host.processEvents(0.5)
    watch, ends = Watch(), []

    class Observer(Listener):
        def onProgress(self, fraction: float, message: str, remaining: float | None) -> None:
            wanted = "adding nodes" if fraction >= 1 else "worker at work"
            if watch.phase != wanted:
                watch.enter(wanted)

        def onEnd(self, outcome: Any) -> None:
            watch.note()
            ends.append(outcome)

    timer = qt.QTimer()
    timer.connect("timeout()", watch.tick)
    timer.start(5)
    watch.note()
    watch.longest["writing files"] = 0.0
    panel.logic.runner.start(AttackTask(panel.subject(), panel.network.source(), {"attack": "fgsm"}), Observer())
    while not ends:
        host.processEvents(0.001)
    timer.stop()
    if ends[0].kind != "done":
        sys.exit(ends[0].message)
    return watch.longest


def main(sizes: list[int]) -> int:
    """Measure, print, and fail if the promise is broken."""
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path[:0] = [str(ROOT), str(ROOT / "Testing")]
    import host

    host.start()
    from host import slicer_module

    slicer_module.loadModule(ROOT / "SegAdversarial" / "SegAdversarial.py")
    panel = slicer_module.moduleWidget("SegAdversarial").panel
    kept = True
    for size in sizes:
        longest = measure(host, panel, size)
        kept &= longest["worker at work"] < PROMISE
        shown = ", ".join(f"{phase} {1000 * seconds:.0f} ms" for phase, seconds in longest.items())
        print(f"4 x {size}^3: longest silence while {shown}")
    slicer_module.quit()
    if not kept:
        print("A promise is broken: the window was silent for 100 ms or more while the worker was at work.")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main([int(x) for x in sys.argv[1:]] or [64, 128]))
