"""The worker as the graphical interface meets it: a real process, its protocol, and everything that can go wrong in it."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import ROOT, tiny_network, toy_case

from SegAdversarialLib import InputError
from SegAdversarialLib.jobs.failures import failure
from SegAdversarialLib.jobs.opening import open_case
from SegAdversarialLib.jobs.results import read_attack
from SegAdversarialLib.jobs.specification import CaseSource
from SegAdversarialLib.model import devices

SMALL = {"phantom": {"seed": 7, "shape": [32, 32, 32]}}
ENDS = {"done", "cancelled", "error"}


class Caller:
    """Talks to a worker process."""

    def __init__(self, folder: Path, path: str = str(ROOT)) -> None:
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        self._log = (folder / "worker.log").open("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "SegAdversarialLib", "worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=folder,
            env=environment,
        )
        self._lines: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)

    def say(self, **request: Any) -> None:
        self.write(json.dumps(request).encode() + b"\n")

    def write(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def event(self) -> dict[str, Any]:
        """The next event; every line must be JSON, or the protocol is not clean."""
        found: dict[str, Any] = json.loads(self._lines.get(timeout=60))
        return found

    def until(self, wanted: str) -> list[dict[str, Any]]:
        """All events up to one of this kind, or whose message has this in it."""
        events = [self.event()]
        while wanted != events[-1]["event"] and wanted not in str(events[-1].get("message", "")):
            assert events[-1]["event"] != "error", events[-1]
            events.append(self.event())
        return events

    def end(self, identifier: str) -> list[dict[str, Any]]:
        """All events up to the end of a request."""
        events = [self.event()]
        while not (events[-1]["event"] in ENDS and events[-1].get("id") == identifier):
            events.append(self.event())
        return events

    def ask(self, identifier: str, **request: Any) -> dict[str, Any]:
        """Send a request and give its end."""
        self.say(id=identifier, **request)
        return self.end(identifier)[-1]

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()


@contextmanager
def running_worker(folder: Path) -> Iterator[Caller]:
    found = Caller(folder)
    try:
        assert found.event()["event"] == "ready"
        yield found
    finally:
        found.process.kill()
        found.process.wait()


@pytest.fixture(scope="module")
def caller(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Caller]:
    """One worker for many tests, as for many runs of a user."""
    with running_worker(tmp_path_factory.mktemp("worker")) as found:
        yield found


def attack_job(folder: Path, *attacks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "attack", "case": SMALL, "attacks": attacks, "output": str(folder / "out"), "ending": ".nrrd", **more}


def phantoms(folder: Path) -> dict[str, Any]:
    """A long job that is quick to start."""
    return {"kind": "phantom", "seeds": list(range(1000)), "shape": [32, 32, 32], "output": str(folder / "out")}


def network_file(folder: Path, network: torch.nn.Module, name: str = "net.ts") -> str:
    torch.jit.script(network).save(str(folder / name))
    settings = {"channels": ["A", "B"], "classes": ["background", "core", "rim"]}
    (folder / name).with_suffix(".json").write_text(json.dumps(settings))
    return str(folder / name)


def toy_files(folder: Path) -> dict[str, Any]:
    written = toy_case().write(folder / "case", ".nrrd")
    return {"channels": {name: str(written[name]) for name in ("A", "B")}, "label": str(written["label"])}


def test_jobs_run_and_the_network_stays_open(caller: Caller, tmp_path: Path) -> None:
    model = {"changes": {"overlap": 0.3}}  # no other test has asked for this one
    caller.say(request="job", id="1", job=attack_job(tmp_path, {"attack": "ifgsm", "steps": 2}, model=model))
    first = caller.end("1")
    assert {x["id"] for x in first} == {"1"} and {"progress", "log", "trace", "result"} <= {x["event"] for x in first}
    fractions = [x["fraction"] for x in first if x["event"] == "progress"]
    assert fractions == sorted(fractions) and fractions[0] >= 0 and fractions[-1] <= 1
    assert [x["message"] for x in first if x["event"] == "log"] == ["opening builtin:brain-tumour-phantom"]
    assert first[-1]["event"] == "done" and first[-1]["rows"][0]["attack"] == "ifgsm"
    caller.say(request="job", id="2", job=attack_job(tmp_path, {"attack": "fgsm"}, model=model))
    second = caller.end("2")
    # the network is not opened again; the folder is added to
    (said,) = [x["message"] for x in second if x["event"] == "log"]
    assert second[-1]["event"] == "done" and said.endswith("stay: ifgsm.")
    described = caller.ask("3", request="network", model={"device": "auto"})["network"]
    assert described["channels"] == ["T1", "T1ce", "T2", "FLAIR"] and described["parameters"] > 0
    result, evaluation = read_attack(tmp_path / "out" / "fgsm", open_case(CaseSource.model_validate(SMALL)))
    assert result.attack.name == "fgsm" and evaluation.reference == "label"
    listed = caller.ask("4", request="devices")
    assert listed["devices"][0]["id"] == "cpu" and listed["devices"][0]["memory"] > 0 and isinstance(listed["advice"], str)


def test_cancel_in_the_middle_and_in_the_queue(caller: Caller, tmp_path: Path) -> None:
    caller.say(request="job", id="long", job=attack_job(tmp_path, {"attack": "fgsm"}, {"attack": "pgd", "steps": 10000}))
    caller.say(request="job", id="waiting", job=attack_job(tmp_path, {"attack": "fgsm"}))
    caller.until("PGD: step 2")
    caller.say(request="cancel", id="waiting")
    assert caller.until("cancelled")[-1] == {"event": "cancelled", "id": "waiting"}
    caller.say(request="cancel", id="long")
    assert caller.end("long")[-1] == {"event": "cancelled", "id": "long"}
    assert sorted(x.name for x in (tmp_path / "out").iterdir() if x.is_dir()) == ["fgsm"]
    caller.say(request="cancel", id="long")  # too late: nothing happens
    caller.say(request="cancel", id="never heard of")
    assert caller.ask("next", request="job", job=attack_job(tmp_path, {"attack": "fgsm"}))["event"] == "done"


def test_whoever_prints_the_protocol_stays_clean(caller: Caller, tmp_path: Path) -> None:
    class Chatty(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = tiny_network().float()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            for _ in range(3000):
                print("noise! noise! noise! noise! noise!")  # TorchScript prints from C++; more than a buffer holds back
            return self.network(x)

    model = {"path": network_file(tmp_path, Chatty()), "trust": True, "device": "cpu"}
    job = {"kind": "segment", "case": toy_files(tmp_path), "model": model, "output": str(tmp_path / "out")}
    assert caller.ask("1", request="job", job=job)["event"] == "done"
    assert "noise! noise!" in caller.log()


def test_trust_is_asked_for_every_time(caller: Caller, tmp_path: Path) -> None:
    path = network_file(tmp_path, tiny_network().float())
    assert caller.ask("1", request="network", model={"path": path, "trust": True})["event"] == "done"
    refused = caller.ask("2", request="network", model={"path": path})
    assert refused["kind"] == "input" and "if you trust its source" in refused["message"]


def test_errors_are_told_and_survived(caller: Caller, tmp_path: Path) -> None:
    (tmp_path / "corrupt.ts").write_bytes(b"PK\x03\x04 no network")
    (tmp_path / "corrupt.json").write_text('{"channels": ["A", "B"], "classes": ["a", "b", "c"]}')

    class Greedy(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros([100000000000000000]) + x.sum()  # no machine has room for so much

    class Broken(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x

    files = toy_files(tmp_path)

    def segment(path: str, **more: Any) -> dict[str, Any]:
        model = {"path": path, "trust": True, "device": "cpu"}
        return {"kind": "segment", "case": files, "model": model, "output": str(tmp_path / "out"), **more}

    fgsm = {"attack": "fgsm"}
    wrong = [
        ({"request": "dance"}, "input", "does not know the request dance"),
        ({"request": "job"}, "input", "The job: "),
        ({"request": "job", "job": {"kind": "cook"}}, "input", "The job: "),
        ({"request": "job", "job": attack_job(tmp_path, {"attack": "magic"})}, "input", 'no attack "magic"'),
        ({"request": "job", "job": attack_job(tmp_path, fgsm, scene="x.mrb")}, "input", "no scenes"),
        ({"request": "job", "job": attack_job(tmp_path, fgsm, output="/proc/nowhere")}, "input", "Cannot write"),
        ({"request": "job", "job": segment(str(tmp_path / "corrupt.ts"))}, "input", "cut off or damaged"),
        ({"request": "job", "job": segment(network_file(tmp_path, Greedy(), "greedy.ts"))}, "memory", "use a smaller window"),
        ({"request": "job", "job": segment(network_file(tmp_path, Broken(), "broken.ts"))}, "input", "3 classes"),
        ({"request": "network", "model": {"changes": {"trust": True}}}, "input", "no setting trust"),
        ({"request": "network", "model": 5}, "input", "The network: "),
    ]
    for n, (request, kind, message) in enumerate(wrong):
        end = caller.ask(str(n), **request)
        assert (end["event"], end["kind"]) == ("error", kind), end
        assert message in end["message"] and "\n" not in end["message"] and end["details"] == ""
    for line in (b"no json\n", b"[1]\n", b'{"id": "x"}\n', b'{"request": "devices"}\n', b"\xff\n", b"[" * 5000 + b"\n"):
        caller.write(line)
        assert caller.event()["kind"] == "input"
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    assert caller.ask("after", request="job", job=attack_job(tmp_path, fgsm))["event"] == "done"


def test_an_id_is_not_taken_twice(caller: Caller, tmp_path: Path) -> None:
    caller.say(request="job", id="1", job=phantoms(tmp_path))
    caller.until("phantom 3")
    caller.say(request="devices", id="1")
    refused = caller.until("error")[-1]
    assert "id" not in refused and "has not ended" in refused["message"]
    caller.say(request="cancel", id="1")
    assert caller.end("1")[-1]["event"] == "cancelled"


@pytest.mark.parametrize("how", ["end of input", "quit"])
def test_the_worker_ends_with_its_caller(how: str, tmp_path: Path) -> None:
    with running_worker(tmp_path) as caller:
        assert caller.process.stdin is not None
        if hasattr(os, "getsid"):
            assert os.getsid(caller.process.pid) == caller.process.pid
        caller.say(request="job", id="1", job=phantoms(tmp_path))
        caller.until("phantom 3")
        if how == "quit":
            caller.say(request="quit")
        else:
            caller.process.stdin.close()
        assert caller.process.wait(10) == 0
        assert len(list((tmp_path / "out").iterdir())) < 1000


@pytest.mark.parametrize("package", ["torch", "pydantic", "numpy"])
def test_ready_comes_before_anything_heavy(package: str, tmp_path: Path) -> None:
    """Where a package cannot be imported at all, the worker still is ready, and says so when it is asked to work."""
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / f"{package}.py").write_text(f"raise ModuleNotFoundError(\"No module named '{package}'\", name='{package}')")
    caller = Caller(tmp_path, f"{hidden}{os.pathsep}{ROOT}")
    try:
        ready = caller.event()
        assert (ready["event"], ready["protocol"], ready["process"]) == ("ready", 1, caller.process.pid)
        end = caller.ask("1", request="job", job=attack_job(tmp_path, {"attack": "fgsm"}))
        assert end["kind"] == "import" and f"package {package} is missing" in end["message"]
    finally:
        caller.process.kill()
        caller.process.wait()


def test_failures_in_words() -> None:
    def raised(error: BaseException, cause: BaseException | None = None) -> dict[str, Any]:
        error.__cause__ = cause
        return failure(error)

    out = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
    assert raised(out)["kind"] == raised(MemoryError())["kind"] == "memory"
    assert "smaller window" in raised(MemoryError())["message"]
    assert raised(InputError("It does not fit; use a smaller window."), out)["kind"] == "memory"
    assert raised(InputError("A wrong thing."), ValueError("detail")) == {
        "event": "error",
        "kind": "input",
        "message": "A wrong thing.",
        "details": "",
    }
    assert "package monai is missing" in raised(ImportError("no", name="monai.networks"))["message"]
    assert raised(OSError(28, "No space left on device", "x.nrrd"))["message"] == "No space left on device: x.nrrd."
    defect = raised(ZeroDivisionError("division by zero"))
    assert defect["kind"] == "internal" and "ZeroDivisionError" in defect["details"]


def test_advice_for_a_machine_whose_gpu_lies_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    listed = SimpleNamespace(returncode=0, stdout="GPU 0: NVIDIA RTX\n")
    monkeypatch.setattr(devices.shutil, "which", lambda name: None)
    assert devices.advice() == ""
    monkeypatch.setattr(devices.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    monkeypatch.setattr(devices.subprocess, "run", lambda *args, **more: listed)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert "CPU build" in devices.advice()
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    assert "update the NVIDIA driver" in devices.advice()
    listed.stdout, listed.returncode = "", 9  # the tool is there, a GPU is not
    assert devices.advice() == ""
