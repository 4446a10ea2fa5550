"""Kill -9 of client, worker and scheduler: what is resumed comes to the same as what was never interrupted, row by row."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster_helpers import Machines
from conftest import ROOT
from study_client import GONE
from study_helpers import NETWORK, attack_cell, plain_cell, write_cases, write_network

from SegAdversarialLib.studies.records import Cell
from SegAdversarialLib.studies.store import Store

_TIMES = {"seconds", "worker", "finished", "tries", "time", "cases per second"}
"""What may differ between two runs of one study."""


@pytest.fixture
def machines(tmp_path: Path) -> Iterator[Machines]:
    found = Machines(tmp_path)
    try:
        found.start()
        yield found
    finally:
        found.end()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no process groups that a terminal's Ctrl-C goes to")
@pytest.mark.parametrize("early", [True, False])
def test_ctrl_c_ends_the_workers_and_leaves_the_store_whole(tmp_path: Path, early: bool) -> None:
    path = begun(tmp_path / "study", simple())
    program = str(ROOT / "Testing" / "Python" / "study_client.py")
    with (tmp_path / "log").open("wb") as log:
        client = subprocess.Popen(
            *([sys.executable, program, str(path), "own", "light"],),
            **{"start_new_session": True, "stdout": log, "stderr": log},
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'Testing' / 'Python'}"},
            # tests that run in the background are deaf to it, and what they start would be, too
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    while not workers_of(client.pid) if early else done(path) < 5:
        assert client.poll() is None
        time.sleep(0.05)
    workers = workers_of(client.pid)
    os.killpg(client.pid, signal.SIGINT)  # as a terminal does: to all of them
    assert client.wait(60) == 130
    assert workers
    psutil.wait_procs([psutil.Process(x) for x in workers if psutil.pid_exists(x)], timeout=20)
    assert not any(psutil.pid_exists(x) and psutil.Process(x).status() != "zombie" for x in workers)
    # workers that are only just starting have a word of their own to say about it
    assert early or "Traceback" not in (tmp_path / "log").read_text(encoding="utf-8")
    with Store.open(path) as store:
        assert early or store.counts().done >= 5
        assert store.counts().failed == store.counts().poisoned == 0


def workers_of(client: int) -> list[int]:
    """The processes below a client."""
    try:
        return [x.pid for x in psutil.Process(client).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def simple() -> list[Cell]:
    """Cells that take their time and need no network."""
    first = plain_cell("first", kind="train", seconds=0.2)
    return [first, *(plain_cell(f"{n}", seconds=0.15, dice=n / 60, needs=[first.key] if n % 2 else []) for n in range(60))]


def study(folder: Path) -> list[Cell]:
    """Attacks on three cases, with networks that are there and one that the study trains itself."""
    entries = write_cases(folder / "cases", 3)
    settings = {"network": NETWORK, "settings": {"epochs": 2, "tensorboard": False, "seed": 3}}
    work = {"cohort": entries[:2], "validation": entries[2:], "folder": "networks/trained"}
    training = Cell(kind="train", network="trained", settings=settings, work=work)
    networks: dict[str, Any] = {"one": write_network(folder / "one"), "two": write_network(folder / "two", seed=1)}
    cells = [training]
    for name, model in [*networks.items(), ("trained", {"product": training.key})]:
        needs = (training.key,) if name == "trained" else ()
        for entry in entries:
            for epsilon in (0.0, 0.05, 0.1, 0.2):
                cells.append(
                    attack_cell(
                        *(model, entry),
                        network=name,
                        needs=needs,
                        attack="i-FGSM",
                        settings={"attack": "i-fgsm", "epsilon": epsilon, "steps": 2},
                    )
                )
    return cells


def everything(path: Path) -> dict[str, list[dict[str, Any]]]:
    """All that a store holds, but for times."""
    with Store.open(path, reading=True) as store:
        tables = {
            "results": list(store.results()),
            "channels": list(store.channels()),
            "traces": list(store.traces()),
            "cells": list(store.cells()),
        }
    return {
        name: [{key: repr(x) for key, x in row.items() if key not in _TIMES} for row in rows] for name, rows in tables.items()
    }


def volumes(folder: Path) -> dict[str, bytes]:
    """The volumes that were kept."""
    return {str(x.relative_to(folder)): x.read_bytes() for x in sorted(folder.glob("volumes/**/*.nii.gz"))}


def done(path: Path) -> int:
    with Store.open(path, reading=True) as store:
        return store.counts().done


def begun(folder: Path, cells: list[Cell]) -> Path:
    folder.mkdir()
    with Store.open(folder / "study.sqlite", "kills") as store:
        store.add(cells)
    return folder / "study.sqlite"


class Killing:
    """A study that is run while one after the other of those who run it is killed.

    Args:
        machines: scheduler and workers.
        path: the study's store.
        light: the cells are for `misbehaved`.
        chance: draws who is killed, and when.
    """

    def __init__(self, machines: Machines, path: Path, light: bool, chance: random.Random) -> None:
        self._machines, self._path, self._chance = machines, path, chance
        self._options = ["light"] if light else []
        self.client = self.run()

    def run(self) -> subprocess.Popen[bytes]:
        """Begin, or go on."""
        program = str(ROOT / "Testing" / "Python" / "study_client.py")
        self.client = self._machines.run_client(program, str(self._path), self._machines.address, *self._options)
        return self.client

    def kill(self, victim: str, at: int) -> int:
        """Kill one of them when so many cells are done, or a little later, and begin it again; how many were done."""
        while self.client.poll() is None and done(self._path) < at:
            time.sleep(0.01)
        time.sleep(self._chance.uniform(0, 0.2))
        assert self.client.poll() is None, f"there was nothing left to kill; {done(self._path)} cells are done"
        reached = done(self._path)
        if victim == "client":
            self.client.kill()
            self.client.wait()
        elif victim == "worker":
            self._machines.kill_worker(self._chance.randint(0, 1))
        else:
            self._machines.kill_scheduler()
            assert self.client.wait(60) == GONE, "the client has not said that its scheduler is gone"
        self._machines.start()
        if self.client.poll() is not None:
            self.run()
        return reached


@pytest.mark.parametrize(
    ("times", "light"),
    [(3, True), pytest.param(10, True, marks=pytest.mark.slow), pytest.param(10, False, marks=pytest.mark.slow)],
)
def test_killed_and_resumed_is_the_same_as_never_interrupted(
    tmp_path: Path, machines: Machines, times: int, light: bool
) -> None:
    chance = random.Random(7)
    victims = (["client", "worker", "scheduler"] * times)[:times]
    chance.shuffle(victims)
    cells = simple() if light else study(tmp_path / "given")
    whole, path = begun(tmp_path / "whole", cells), begun(tmp_path / "killed", cells)
    assert Killing(machines, whole, light, chance).client.wait(400) == 0
    killing, killed = Killing(machines, path, light, chance), []
    for number, victim in enumerate(victims):
        latest = (number + 1) * (len(cells) - 6) // len(victims)
        killed.append((victim, killing.kill(victim, chance.randint(0, latest))))
    assert killing.client.wait(400) == 0
    print(f"killed, with so many cells done: {killed}")
    first, second = everything(whole), everything(path)
    assert {row["state"] for row in first["cells"]} == {repr("done")}
    for name in first:
        assert first[name] == second[name], name
    assert volumes(tmp_path / "whole") == volumes(tmp_path / "killed")
    assert light or volumes(tmp_path / "whole")
