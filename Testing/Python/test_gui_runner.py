"""Tasks: their files are private and temporary, and they end exactly once, whatever happens on the way."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from SegAdversarialLib.scene.steps import background

FAKE = str(Path(__file__).with_name("fake_worker.py"))


@pytest.fixture
def runner(slicerHost: Any, tmp_path: Path) -> Iterator[Any]:
    from SegAdversarialGui.runner import Runner
    from SegAdversarialGui.worker import Worker

    worker = Worker(lambda: [sys.executable, FAKE])
    yield Runner(worker, lambda: str(tmp_path))
    worker.stop()


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.progress: list[tuple[float, str]] = []
        self.left: list[float | None] = []
        self.log: list[str] = []
        self.ends: list[Any] = []

    def onProgress(self, fraction: float, message: str, remaining: float | None) -> None:
        self.progress.append((fraction, message))
        self.left.append(remaining)

    def onLog(self, text: str) -> None:
        self.log.append(text)

    def onEnd(self, outcome: Any) -> None:
        self.ends.append(outcome)


def makeTask(act: str, fails: str = "", error: Exception | None = None) -> Any:
    from SegAdversarialGui.exchange import Task

    class Fake(Task):
        title = "fake"
        folder: Path | None = None

        def prepare(self, folder: Path) -> Iterator[None]:
            self.folder, self.mode = folder, stat.S_IMODE(os.stat(folder).st_mode)
            (folder / "input").write_text("x")
            yield
            if fails == "prepare":
                raise error
            yield

        def job(self, folder: Path) -> dict[str, Any]:
            return {"act": act}

        def deliver(self, folder: Path) -> Iterator[None]:
            assert (folder / "input").exists()
            yield
            if fails == "deliver":
                raise error
            self.nodes = "nodes"

    return Fake(None, {})


def wait(host: Any, heard: Heard) -> Any:
    end = time.monotonic() + 20
    while not heard.ends:
        assert time.monotonic() < end
        host.processEvents(0.01)
    host.processEvents(0.05)
    # the files are removed by the background thread
    background().submit(int).result()
    (outcome,) = heard.ends
    return outcome


def test_a_task_from_beginning_to_end(slicerHost: Any, runner: Any, tmp_path: Path) -> None:
    heard, task = Heard(), makeTask("echo")
    runner.start(task, heard)
    assert runner.busy
    with pytest.raises(RuntimeError, match="running"):
        runner.start(makeTask("done"), Heard())
    outcome = wait(slicerHost, heard)
    assert (outcome.kind, outcome.nodes, outcome.message) == ("done", "nodes", "")
    assert (0.5, "half") in heard.progress and "noted" in heard.log
    said = dict(zip((message for _, message in heard.progress), heard.left))
    assert said["half"] == 30 and said["6 of 10 jobs, about 5 minutes left"] is None, "the message tells it already"
    assert task.mode == 0o700 and not task.folder.exists() and not list(tmp_path.iterdir())
    assert not runner.busy


@pytest.mark.parametrize("where", ["prepare", "deliver"])
def test_an_error_of_the_users_is_one_sentence(slicerHost: Any, runner: Any, tmp_path: Path, where: str) -> None:
    from SegAdversarialLib.errors import InputError

    heard = Heard()
    runner.start(makeTask("done", where, InputError("T2 is wrong; choose another.")), heard)
    outcome = wait(slicerHost, heard)
    assert (outcome.kind, outcome.message, outcome.details) == ("failed", "T2 is wrong; choose another.", "")
    assert not list(tmp_path.iterdir())


def test_an_error_of_ours_keeps_where_it_was(slicerHost: Any, runner: Any) -> None:
    heard = Heard()
    runner.start(makeTask("done", "deliver", KeyError("oops")), heard)
    outcome = wait(slicerHost, heard)
    assert outcome.kind == "failed" and "KeyError" in outcome.message and "test_gui_runner" in outcome.details


def test_the_workers_errors_come_through(slicerHost: Any, runner: Any) -> None:
    heard = Heard()
    runner.start(makeTask("wrong"), heard)
    assert wait(slicerHost, heard).message == "The file is wrong; give another."


def test_cancelling_before_and_in_the_job(slicerHost: Any, runner: Any, tmp_path: Path) -> None:
    for wanted in (0, 1):
        heard = Heard()
        runner.start(makeTask("wait"), heard)
        end = time.monotonic() + 20
        while wanted and not [x for x in heard.progress if x[1] == "waiting"] and time.monotonic() < end:
            slicerHost.processEvents(0.01)
        runner.cancel()
        assert wait(slicerHost, heard).kind == "cancelled"
        assert not list(tmp_path.iterdir())
    heard = Heard()
    runner.start(makeTask("done"), heard)
    assert wait(slicerHost, heard).kind == "done"


def test_a_temporary_folder_that_is_not_there(slicerHost: Any, tmp_path: Path) -> None:
    from SegAdversarialGui.runner import Runner
    from SegAdversarialGui.worker import Worker

    heard = Heard()
    Runner(Worker(), lambda: str(tmp_path / "gone")).start(makeTask("done"), heard)
    outcome = wait(slicerHost, heard)
    assert outcome.kind == "failed" and str(tmp_path / "gone") in outcome.message and "Settings" in outcome.message


def test_waiting_for_the_end(slicerHost: Any, runner: Any) -> None:
    heard = Heard()
    outcome = runner.run(makeTask("echo"), heard)
    assert outcome.kind == "done" and heard.ends == [outcome]


def test_a_background_thread_that_runs_only_while_it_is_waited_for_gets_ready(
    slicerHost: Any, runner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In Slicer the main thread keeps the interpreter's lock while it waits for events: only a wait of ours gives it away."""
    from SegAdversarialLib.scene import steps

    free, pieces, heard = threading.Event(), [], Heard()

    def patiently(futures: Any, seconds: float) -> Any:
        free.set()
        try:
            return concurrent.futures.wait(futures, seconds)
        finally:
            free.clear()

    def work() -> None:
        for n in range(5):
            assert free.wait(10)
            time.sleep(0.005)
            pieces.append(n)

    task = makeTask("done")
    task.prepare = lambda folder: steps.in_background(work)
    task.deliver = lambda folder: steps.in_background(lambda: pieces.append("delivered"))
    monkeypatch.setattr(steps, "wait", patiently)
    runner.start(task, heard)
    assert wait(slicerHost, heard).kind == "done"
    assert pieces == [*range(5), "delivered"]


def test_two_slicers_at_once_in_one_temporary_folder(slicerHost: Any, tmp_path: Path) -> None:
    """Each has files and a worker of its own: neither sees, ends or removes what is the other's, whoever dies."""
    from SegAdversarialGui.runner import Runner
    from SegAdversarialGui.worker import Worker

    workers = [Worker(lambda: [sys.executable, FAKE]) for _ in range(2)]
    runners = [Runner(x, lambda: str(tmp_path)) for x in workers]
    try:
        heard, tasks = [Heard(), Heard()], [makeTask("wait"), makeTask("wait")]
        for runner, task, one in zip(runners, tasks, heard):
            runner.start(task, one)
        end = time.monotonic() + 20
        while not all("waiting" in [y for _, y in x.progress] for x in heard):
            assert time.monotonic() < end, [x.progress for x in heard]
            slicerHost.processEvents(0.01)
        assert len({x.processId for x in workers}) == 2
        assert sorted(x.folder for x in tasks) == sorted(tmp_path.iterdir())
        os.kill(workers[0].processId, signal.SIGKILL)
        assert wait(slicerHost, heard[0]).kind == "failed"
        assert runners[1].busy and not heard[1].ends and list(tmp_path.iterdir()) == [tasks[1].folder]
        assert (tasks[1].folder / "input").read_text() == "x"
        again, next_ = Heard(), makeTask("done")
        runners[0].start(next_, again)
        assert wait(slicerHost, again).kind == "done" and not heard[1].ends
        runners[1].cancel()
        assert wait(slicerHost, heard[1]).kind == "cancelled" and not list(tmp_path.iterdir())
    finally:
        for worker in workers:
            worker.stop()


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="what a killed process leaves stays there on Windows")
def test_two_processes_of_slicer_of_which_one_is_killed(tmp_path: Path) -> None:
    """With the real worker and panel: the other one goes on, and of the killed one neither worker nor images stay."""
    command = [sys.executable, str(Path(__file__).with_name("slicer_process.py")), str(tmp_path)]
    environment = {**os.environ, "SEGADVERSARIAL_EARLY_WORKER": "0"}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as other:
        try:
            workers = []
            for process in (one, other):  # held while both are at work
                workers.append(int(told(process, "working")[0]))
                os.kill(workers[-1], signal.SIGSTOP)
            assert workers[0] != workers[1] and len(list(tmp_path.iterdir())) == 2
            os.kill(one.pid, signal.SIGKILL)
            one.wait()
            for worker in workers:
                os.kill(worker, signal.SIGCONT)
            segmentations = int(told(other, "ended")[0])
            within(30, lambda: len(list(tmp_path.iterdir())) == 1, "the folder of what has ended goes, in the background")
            (left,) = tmp_path.iterdir()  # nobody was there who could have taken it away
            assert any(left.iterdir()) and segmentations >= 1
            tell(other)
            assert told(other, "working") == [str(workers[1])] and not left.exists()
            assert int(told(other, "ended")[0]) > segmentations
            tell(other)
            assert other.wait(60) == 0
            within(30, lambda: not any(Path(f"/proc/{x}").exists() for x in workers), "workers end with their Slicer")
            assert not list(tmp_path.iterdir())
        finally:
            for process in (one, other):
                process.kill()


def told(process: Any, word: str) -> list[str]:
    """What a process says after a word; it says nothing else before, but for Qt's own."""
    for line in process.stdout:
        if line.startswith(word):
            return str(line).split()[1:]
    raise AssertionError(f"the process ended before it was {word}")


def within(seconds: float, condition: Any, what: str) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def tell(process: Any) -> None:
    process.stdin.write("\n")
    process.stdin.flush()
