"""Programs among a study's networks: whose word counts, and the processes of their own that open them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_network
from study_helpers import attack_cell, write_cases

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats import trust
from SegAdversarialLib.studies import apart, work
from SegAdversarialLib.studies.plan import plan
from SegAdversarialLib.studies.programs import programs
from SegAdversarialLib.studies.records import Cell
from SegAdversarialLib.studies.running import run_study
from SegAdversarialLib.studies.study import Study
from SegAdversarialLib.studies.work import run_cell

SETTINGS = {"channels": ["A", "B"], "classes": ["background", "left", "right"]}

PATIENCE = 120.0
"""Seconds; another process imports torch in them, on a busy machine."""


def made(path: Path, seed: int, **changes: Any) -> Path:
    torch.jit.script(tiny_network(seed=seed).float()).save(str(path))
    path.with_suffix(".json").write_text(json.dumps({**SETTINGS, **changes}))
    return path


STUDY = {
    "study": "programs",
    "cohort": "phantom:1@32",
    "attacks": [{"attack": "fgsm", "epsilon": 0.1}],
    "audit": False,
}


def test_whose_word_opens_the_programs_of_a_study(tmp_path: Path) -> None:
    path, other = (made(tmp_path / f"{x}.ts", n, channels=["T1", "FLAIR"]) for n, x in enumerate(("net", "other")))
    attacks = [*STUDY["attacks"], {"attack": "transfer", "source": str(other), "trust": True}]
    networks = {"net": {"path": str(path), "trust": True}}
    study = Study.of({**STUDY, "attacks": attacks, "networks": networks})
    assert [x.file for x in programs(study)] == [path, other]
    sums = [trust.digest(path), trust.digest(other)]
    said, word = plan(study, trust=sums), plan(study, trust=True)
    assert all(cell.work["model"]["trust"] == sums for cell in said.cells)
    assert [cell.settings.get("trust") for cell in said.cells] == [None, sums]
    assert all(cell.work["model"]["trust"] is True for cell in word.cells)
    assert [cell.key for cell in said.cells] == [cell.key for cell in word.cells]  # what is done is not done again
    for nobody in (False, []):
        with pytest.raises(
            ValueError, match=r"net.ts is a program .* if you trust its source, (run the study with|trust its)"
        ):
            plan(study, trust=nobody)
    with pytest.raises(ValueError) as refused:
        plan(study)
    assert str(refused.value).count("networks.net") == 1, "the place is said once"
    plain = Study.of({**STUDY, "networks": {"net": "builtin:brain-tumour-phantom"}})
    assert len({cell.key for said in (True, False, sums) for cell in plan(plain, trust=said).cells}) == 1
    # a file that says nothing opens by sums, which the panel gives; and by nothing else, also where a setting names it
    silent = Study.of({**STUDY, "networks": {"net": str(path)}})
    assert plan(silent, trust=sums).cells[0].work["model"]["trust"] == sums
    bare = {"attack": "transfer", "source": str(other)}
    sources = Study.of({**STUDY, "attacks": [bare], "networks": {"net": "builtin:brain-tumour-phantom"}})
    assert plan(sources, trust=sums).cells[0].settings["trust"] == sums
    for one, name in ((silent, "net.ts"), (sources, "other.ts")):
        with pytest.raises(ValueError, match=f"{name} is a program .*, say trust: true in the study"):
            plan(one, trust=True)
    for file in (path, other):
        trust.remember(file, trust.digest(file))
    for one in (study, silent, sources):
        assert len({tuple(cell.key for cell in plan(one, trust=x).cells) for x in (True, False, sums)}) == 1


def test_a_study_file_does_not_say_that_it_is_trusted_itself(tmp_path: Path) -> None:
    """In Python as on the command line."""
    path = made(tmp_path / "net.ts", 0, channels=["T1", "FLAIR"])
    file = tmp_path / "stranger.yaml"
    file.write_text(json.dumps({**STUDY, "networks": {"net": {"path": str(path), "trust": True}}}))

    class Begun(Exception):
        pass

    def begin(*_: Any) -> None:
        raise Begun

    with pytest.raises(InputError, match=r"run the study with --trust \(in Python trust=True\)\.$"):
        run_study(file, on_begin=begin)
    assert not file.with_suffix("").exists()
    for word in (True, [trust.digest(path)]):
        with pytest.raises(Begun):
            run_study(file, trust=word, on_begin=begin)
    trust.remember(path, trust.digest(path))
    with pytest.raises(Begun):
        run_study(file, on_begin=begin)


@pytest.fixture(name="cell")
def _cell(tmp_path: Path) -> Iterator[Cell]:
    """FGSM on a network that is a trusted program, in a process that holds no network yet."""
    work._memory.cache_clear()
    model = {"path": str(made(tmp_path / "net.ts", 0)), "trust": True, "device": "cpu"}
    yield attack_cell(model, write_cases(tmp_path / "cases", 1)[0])
    apart._processes().end()
    work._memory.cache_clear()


def started(code: str) -> subprocess.Popen[bytes]:
    """A process that stands in for one that does cells."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([sys.executable, "-c", code], start_new_session=True, **pipes)


def running() -> list[int]:
    return [x.pid for x in apart._processes()._known.values()]


def test_a_worker_opens_no_program_itself(cell: Cell, tmp_path: Path) -> None:
    told = apart.do_cell(cell, tmp_path, volumes=True, threads=1)
    assert work._memory.cache_info().currsize == 0  # nothing was opened here
    first = running()
    transfer = {"attack": "transfer", "source": cell.work["model"]["path"], "trust": True, "method": "fgsm"}
    other = attack_cell({"path": "builtin:brain-tumour-phantom"}, cell.work["case"], settings=transfer)
    with pytest.raises(InputError, match="leaves open which class"):
        apart.do_cell(other, tmp_path, threads=1)  # a sentence is a sentence from there, too
    nested = replace(other, settings={"attack": "least-budget", "method": {**transfer, "trust": False}})
    trust.remember(Path(transfer["source"]), trust.digest(Path(transfer["source"])), "")
    with pytest.raises(InputError, match="leaves open which class"):
        apart.do_cell(nested, tmp_path, threads=1)
    assert work._memory.cache_info().currsize == 0  # the attack in another one was not made here either
    assert running() == first and len(first) == 1  # the same program, the same process
    here = run_cell(cell, tmp_path, threads=1)
    assert here.kept == () and told.kept == (work.volumes_folder(cell),) and (tmp_path / told.kept[0]).is_dir()
    for rows in ("structures", "channels", "trace", "notes", "versions"):
        assert json.dumps(getattr(told, rows)) == json.dumps(getattr(here, rows)), rows  # as text: nan is nan
    plain = replace(cell, work={**cell.work, "model": {"path": "missing.json"}})
    with pytest.raises(InputError, match="missing.json"):
        apart.do_cell(plain, tmp_path)
    assert running() == first


def test_another_program_is_another_process(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each set of programs is asked goes to its own process, of which a few stay."""
    asked: list[tuple[int, str]] = []

    def ask(process: subprocess.Popen[bytes], request: dict[str, Any]) -> Any:
        asked.append((process.pid, json.dumps(request["cell"]["work"]["model"])))
        return {"refused": "no."}

    monkeypatch.setattr(apart, "_asked", ask)
    monkeypatch.setattr(apart, "_started", lambda: started("import sys; sys.stdin.read()"))
    models = [{"path": str(made(tmp_path / f"net{n}.ts", n)), "trust": True} for n in range(4)]
    for model in (models[0], models[1], {"members": models[:2]}, models[0], models[2], models[3], models[0]):
        with pytest.raises(InputError, match=r"^no\.$"):
            apart.do_cell(replace(cell, work={**cell.work, "model": model}), tmp_path)
    pids = [pid for pid, _ in asked]
    assert len({*pids[:3], *pids[4:6]}) == 5 and pids[0] == pids[3] == pids[6]
    assert [json.loads(x) for _, x in asked][:3] == [models[0], models[1], {"members": models[:2]}]
    assert len(running()) == apart._MOST_PROCESSES and not any(map(alive, set(pids) - set(running())))


def test_what_a_process_says_is_looked_at(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = {**asdict(apart.Outcome()), "seconds": 1.0}
    said: list[Any] = [{"outcome": good}]
    monkeypatch.setattr(apart, "_asked", lambda process, request: json.loads(json.dumps(said[0])))
    monkeypatch.setattr(apart, "_started", lambda: started("pass"))
    assert apart.do_cell(cell, tmp_path).seconds == 1.0
    wrong = [
        {"product": "../elsewhere"},
        {"product": 3},
        {"kept": ["../elsewhere"]},
        {"kept": 5},
        {"notes": [1]},
        {"trace": [1]},
    ]
    wrong += [{"structures": None}, {"seconds": "x"}, {"versions": []}]
    for answer in (*({"outcome": {**good, **x}} for x in wrong), {"outcome": 1}, {"refused": 1}, {}, [], 3, None, {"x": 1}):
        said[0] = answer
        with pytest.raises(apart.Failed, match="its process said what no cell says"):
            apart.do_cell(cell, tmp_path)
        assert not running()
    said[0] = {"failed": "RuntimeError: no luck"}
    with pytest.raises(apart.Failed, match="^RuntimeError: no luck$"):
        apart.do_cell(cell, tmp_path)


def test_a_process_that_dies_is_told_of_and_followed(cell: Cell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for code in ("pass", "print('no json')", "print('[' * 100_000)", "import os; os.abort()"):
        monkeypatch.setattr(apart, "_started", lambda code=code: started(code))
        with pytest.raises(apart.Failed, match="its process (died at it|said what no cell says)"):
            apart.do_cell(cell, tmp_path)
        assert not running()


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_a_process_ends_with_its_worker(tmp_path: Path) -> None:
    code = "import time; from SegAdversarialLib.studies import apart; print(apart._started().pid, flush=True); time.sleep(600)"
    worker = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    child = int(worker.stdout.readline())
    assert alive(child)
    worker.kill()
    worker.wait()
    worker.stdout.close()
    until = time.monotonic() + PATIENCE
    while alive(child):
        assert time.monotonic() < until, "the process outlives its worker"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked about does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text() if sys.platform == "linux" else not os.kill(pid, 0)
    except OSError:
        return False
