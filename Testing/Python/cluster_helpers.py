"""A Dask scheduler and workers as processes of their own on loopback, as they would run on a cluster."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
from conftest import ROOT


def free_port() -> int:
    """A port that nothing listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class Machines:
    """A scheduler and workers; what has died is started again when it is asked for.

    Args:
        folder: for their logs.
        path: what workers can import beside what is installed.
    """

    def __init__(self, folder: Path, path: str = f"{ROOT}{os.pathsep}{ROOT / 'Testing' / 'Python'}") -> None:
        self._folder, self._path = folder, path
        self._port = free_port()
        self._scheduler: subprocess.Popen[bytes] | None = None
        self._workers: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        """The scheduler's."""
        return f"tcp://127.0.0.1:{self._port}"

    def start(self, workers: int = 2) -> None:
        """Start what is not there."""
        if self._scheduler is None or self._scheduler.poll() is not None:
            self.end()  # workers that are left over look for the old scheduler
            self._scheduler = self._run("scheduler", "--host", "127.0.0.1", "--port", str(self._port), "--no-dashboard")
            _until(lambda: _answers(self._port))
        self._workers = [x for x in self._workers if x.poll() is None]
        while len(self._workers) < workers:
            self._workers.append(self._run("worker", self.address, "--nthreads", "1", "--memory-limit", "0", "--no-dashboard"))

    def run_client(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Run a Python program beside them."""
        return self._process("client", [sys.executable, *arguments])

    def kill_scheduler(self) -> None:
        """Kill -9."""
        assert self._scheduler is not None
        self._scheduler.kill()
        self._scheduler.wait()

    def kill_worker(self, number: int = 0) -> None:
        """Kill -9 of the process that computes; the nanny above it starts another."""
        for child in psutil.Process(self._workers[number].pid).children(recursive=True):
            if "resource_tracker" not in " ".join(child.cmdline()):
                os.kill(child.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill all that is left."""
        for process in (*self._workers, *([self._scheduler] if self._scheduler else [])):
            if process.poll() is None:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
                process.kill()
                process.wait()
        self._workers, self._scheduler = [], None

    def _run(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        return self._process(what, [sys.executable, "-m", "dask", what, *arguments])

    def _process(self, what: str, command: list[str]) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": self._path, "OMP_NUM_THREADS": "1"}
        with (self._folder / f"{what}.log").open("ab") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self._folder)


def _answers(port: int) -> bool:
    with socket.socket() as asked:
        return asked.connect_ex(("127.0.0.1", port)) == 0


def _until(holds: object, seconds: float = 120.0) -> None:
    assert callable(holds)
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it has not come up"
        time.sleep(0.05)
