"""What is imported before anybody asks for it, and that real work does not wait for more than it needs."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from SegAdversarialLib.errors import Cancelled
from SegAdversarialLib.jobs import warming
from SegAdversarialLib.jobs.warming import Warming
from SegAdversarialLib.jobs.worker import Worker

GATES: dict[str, threading.Event] = {}
"""What the slow modules wait for, by their names."""


@pytest.fixture(name="modules")
def _modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Modules that say when they are imported: "early", "late" and "last"; "late" waits for its gate; "broken" fails."""
    said: list[str] = []
    fake = type(sys)("warming_said")
    fake.said, fake.gates = said, GATES  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "warming_said", fake)
    GATES["warm_late"] = threading.Event()
    for name in ("early", "late", "last", "broken"):
        waits = "warming_said.gates[__name__].wait(30)\n" if name == "late" else ""
        fails = "raise OSError('no such library')\n" if name == "broken" else ""
        text = f"import warming_said\nwarming_said.said.append('begins {name}')\n{waits}{fails}"
        (tmp_path / f"warm_{name}.py").write_text(text + f"warming_said.said.append('{name}')\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield said
    GATES["warm_late"].set()
    for name in ("early", "late", "last", "broken"):
        sys.modules.pop(f"warm_{name}", None)


def until(said: list[str], what: str) -> None:
    for _ in range(3000):
        if what in said:
            return
        threading.Event().wait(0.01)
    raise AssertionError(f"it never came to {what}: {said}")


def test_work_waits_for_one_module_at_most(modules: list[str]) -> None:
    warm = Warming(("warm_early",), ("warm_broken", "warm_late", "warm_last"))
    warm.go_on(lambda: False)
    assert modules == [], "nobody has asked for it"
    warm.begin()
    warm.go_on(lambda: False)
    until(modules, "begins late")
    assert modules == ["begins early", "early", "begins broken", "begins late"]
    with pytest.raises(Cancelled):
        warm.end(lambda: True)
    threading.Timer(0.2, GATES["warm_late"].set).start()
    warm.end()
    assert modules[-1] == "late", "the one that was being imported is there, and no other came"
    warm.go_on(lambda: False)
    assert "begins last" not in modules, "whoever works now imports what it needs"


def test_other_work_comes_first(modules: list[str]) -> None:
    warm = Warming(("warm_early",), ("warm_last",))
    warm.begin()
    warm.go_on(lambda: True)
    assert modules == []
    warm.go_on(lambda: False)
    until(modules, "last")
    warm.end()


def test_the_worker_prepares_beside_a_synthetic_subject(
    modules: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A phantom is made while a module is still being imported; the list of devices, which needs torch, waits for it."""
    events: list[dict[str, Any]] = []
    ended: list[str] = []

    def hear(event: dict[str, Any]) -> None:
        events.append(event)
        if event["event"] in ("done", "error"):
            ended.append(str(event["id"]))

    worker = Worker(hear)
    monkeypatch.setattr(worker, "_warming", Warming((), ("warm_late", "warm_last")))
    phantom = {"kind": "phantom", "seeds": [1], "shape": [32, 32, 32], "output": str(tmp_path / "out")}
    said = [
        {"request": "prepare", "id": 1},
        {"request": "job", "id": 2, "job": phantom},
        {"request": "devices", "id": 3},
    ]
    thread = threading.Thread(target=worker.work, daemon=True)
    thread.start()
    assert worker.hear(json.dumps(said[0]).encode())
    until(modules, "begins late")
    for request in said[1:]:
        assert worker.hear(json.dumps(request).encode())
    until(ended, "2")
    assert [x["event"] for x in events if x["event"] in ("done", "error")] == ["done", "done"], events
    assert "late" not in modules
    GATES["warm_late"].set()
    until(ended, "3")
    assert modules[-1] == "late"


def test_what_a_synthetic_subject_needs_comes_first() -> None:
    """Otherwise it would import beside the thread that imports the rest."""
    import subprocess

    program = """
import sys, tempfile
from SegAdversarialLib.jobs.warming import Warming
warm = Warming(then=())
warm.begin()
warm.go_on(lambda: False)
warm.end()
from SegAdversarialLib.jobs import running, specification
there = set(sys.modules)
job = {"kind": "phantom", "seeds": [1], "shape": [32, 32, 32], "output": tempfile.mkdtemp() + "/out"}
running.run(specification.make_job(job))
print(sorted({x.partition(".")[0] for x in set(sys.modules) - there} - set(sys.stdlib_module_names)), "torch" in sys.modules)
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["[]", "False"], found.stdout
    assert set(warming.FIRST).isdisjoint(warming.THEN)
