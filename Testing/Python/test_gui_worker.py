"""The worker's client: whatever the process does, everyone who asked hears how it ended, and nothing of ours is left."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

FAKE = str(Path(__file__).with_name("fake_worker.py"))


@pytest.fixture
def make(slicerHost: Any) -> Iterator[Callable[..., Any]]:
    from SegAdversarialGui.worker import Worker

    made = []

    def worker(*command: str) -> Any:
        made.append(Worker(lambda: list(command) or [sys.executable, FAKE]))
        return made[-1]

    yield worker
    for one in made:
        one.stop()


class Asked:
    """A request and the events that came of it."""

    def __init__(self, host: Any, worker: Any, act: str, programs: frozenset[str] | None = None) -> None:
        self.host, self.worker, self.events = host, worker, []
        self.id = worker.submit({"request": "job", "job": {"act": act}}, self.events.append, programs)

    def until(self, kind: str, seconds: float = 20) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while not any(x["event"] == kind for x in self.events):
            assert time.monotonic() < end, f"no {kind} event; there are {self.events}; {list(self.worker.lines)}"
            self.host.processEvents(0.01)
        return next(x for x in self.events if x["event"] == kind)

    def end(self, seconds: float = 20) -> dict[str, Any]:
        stop = time.monotonic() + seconds
        while not self.events or self.events[-1]["event"] not in ("done", "cancelled", "error"):
            assert time.monotonic() < stop, f"no end; there are {self.events}; {list(self.worker.lines)}"
            self.host.processEvents(0.01)
        return self.events[-1]


def alive(process: int) -> bool:
    """Whether a process runs; one that only waits to be buried does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(process: int) -> bool:
    end = time.monotonic() + 5
    while alive(process) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(process)


def test_it_can_start_before_it_is_needed(slicerHost: Any, make: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from SegAdversarialGui.worker import EARLY

    worker = make()
    monkeypatch.setenv(EARLY, "0")
    worker.prepare()
    assert not worker.running
    monkeypatch.setenv(EARLY, "1")
    worker.prepare()
    assert worker.running
    Asked(slicerHost, worker, "done").end()
    process = worker.processId
    worker.prepare()
    assert worker.processId == process
    worker.stop()
    assert not worker.running and gone(process)


def test_it_starts_with_the_first_request_and_stays(slicerHost: Any, make: Callable[..., Any]) -> None:
    worker = make()
    assert not worker.running and worker.processId == 0
    asked = Asked(slicerHost, worker, "echo")
    assert asked.end() == {"event": "done", "id": asked.id, "rows": [{"ü": 1}]}
    assert [x["event"] for x in asked.events] == ["progress", "progress", "log", "done"]
    assert "a library prints" in worker.lines and "and writes to its log" in worker.lines
    first = worker.processId
    Asked(slicerHost, worker, "done").end()
    assert worker.processId == first


def test_cancel_is_asked_first(slicerHost: Any, make: Callable[..., Any]) -> None:
    worker = make()
    asked = Asked(slicerHost, worker, "wait")
    asked.until("progress")
    before = worker.processId
    worker.cancel(asked.id)
    assert asked.end()["event"] == "cancelled"
    assert worker.processId == before and alive(before)


def test_who_does_not_listen_is_ended_with_all_its_children(slicerHost: Any, make: Callable[..., Any]) -> None:
    worker = make()
    asked = Asked(slicerHost, worker, "stubborn")
    child, process = int(asked.until("progress")["message"]), worker.processId
    assert alive(child)
    started = time.monotonic()
    worker.cancel(asked.id)
    assert asked.end()["event"] == "cancelled"
    assert time.monotonic() - started > 2.5  # it was asked first, and given three seconds (give or take)
    assert gone(child) and gone(process) and not worker.running
    assert Asked(slicerHost, worker, "done").end()["event"] == "done"


def test_a_killed_worker_is_reported_and_replaced(slicerHost: Any, make: Callable[..., Any]) -> None:
    worker = make()
    asked = Asked(slicerHost, worker, "wait")
    asked.until("progress")
    os.kill(worker.processId, signal.SIGKILL)
    end = asked.end()
    assert end["kind"] == "died" and "memory" in end["message"] and end["message"].count(".") == 1
    assert not worker.running
    assert Asked(slicerHost, worker, "done").end()["event"] == "done"


def test_python_killed_behind_slicers_launcher(slicerHost: Any, make: Callable[..., Any]) -> None:
    """PythonSlicer itself ends in good order then, with 1."""
    launcher = (
        "import subprocess, sys; done = subprocess.run(sys.argv[1:])\n"
        "if done.returncode < 0:\n"
        "    print('error: [python-real] exit abnormally - Report the problem.', file=sys.stderr, flush=True)\n"
        "sys.exit(1)"
    )
    worker = make(sys.executable, "-c", launcher, sys.executable, FAKE)
    asked = Asked(slicerHost, worker, "wait")
    asked.until("progress")
    os.kill(worker.processId, signal.SIGKILL)
    assert "memory" in asked.end()["message"]
    crashed = Asked(slicerHost, worker, "crash")
    assert "crashed" in crashed.end()["message"] and "Fatal Python error" in crashed.events[-1]["details"]


def test_the_process_does_not_die_with_its_last_name(slicerHost: Any, make: Callable[..., Any]) -> None:
    """PythonQt destroys an object without a parent together with its Python name, also while it is sending a signal."""
    worker = make()
    Asked(slicerHost, worker, "done").end()
    assert worker.process.parent() is not None


def test_a_worker_that_leaves_says_why(slicerHost: Any, make: Callable[..., Any]) -> None:
    asked = Asked(slicerHost, make(), "leave")
    end = asked.end()
    assert end["kind"] == "died" and "No module named 'torch'" in end["message"] and "Traceback" in end["details"]


def test_a_program_that_is_not_there(slicerHost: Any, make: Callable[..., Any]) -> None:
    asked = Asked(slicerHost, make("/no/such/program"), "done")
    assert "/no/such/program" in asked.end()["message"]


def test_stop_ends_everything(slicerHost: Any, make: Callable[..., Any]) -> None:
    worker = make()
    asked = Asked(slicerHost, worker, "stubborn")
    child, process = int(asked.until("progress")["message"]), worker.processId
    worker.stop()
    assert asked.events[-1]["event"] == "cancelled"
    assert gone(child) and gone(process) and not worker.running
    worker.stop()


def test_stop_while_it_starts(slicerHost: Any, make: Callable[..., Any]) -> None:
    worker = make()
    asked = Asked(slicerHost, worker, "stubborn")
    process = worker.processId
    worker.stop()
    assert asked.events[-1]["event"] == "cancelled" and gone(process)


def test_a_program_gets_a_process_of_its_own(slicerHost: Any, make: Callable[..., Any]) -> None:
    """One that has done nothing before, and that is used for nothing else afterwards."""
    worker = make()

    def processOf(*programs: str, reads: bool = True) -> int:
        Asked(slicerHost, worker, "done", frozenset(programs) if reads else None).end()
        return int(worker.processId)

    fresh = processOf(reads=False)
    plain = processOf()
    assert plain == fresh == processOf() == processOf(reads=False)
    one = processOf("a")
    assert one != plain and gone(plain) and one == processOf("a") == processOf(reads=False)
    both = processOf("a", "b")
    assert both != one and gone(one) and both == processOf("b", "a")
    again = processOf()
    assert again != both and gone(both)
    worker.stop()
    assert worker.mustStartAnew(frozenset("a")) is False
    processOf(reads=False)
    assert worker.processId == processOf("a")  # a process that has only listed devices is as good as new


def test_what_is_trusted_no_more_is_let_go(slicerHost: Any, make: Callable[..., Any]) -> None:
    worker = make()
    Asked(slicerHost, worker, "done", frozenset("ab")).end()
    process = worker.processId
    worker.letGo(["c"])
    assert worker.processId == process
    waiting = Asked(slicerHost, worker, "wait", frozenset("ab"))
    waiting.until("progress")
    worker.letGo(["a"])  # it is busy: the next job with it is refused, as it is not told to trust it
    assert worker.processId == process
    worker.cancel(waiting.id)
    waiting.end()
    worker.letGo(["a"])
    assert not worker.running and gone(process)
    worker.letGo(["a"])
