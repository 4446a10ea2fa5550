"""Ctrl-C at any moment, in real processes: one line, exit status 130, and files whole or absent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from SegAdversarialLib.volumes import files

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as Unix does")

SLOW_MODULE = """
import sys, time
print("LOADING", file=sys.stderr, flush=True)
time.sleep(60)
"""


def start(words: list[str], cwd: Path = ROOT, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
        start_new_session=True,
        # a shell that runs the tests in its background lets them, and what they start, ignore Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def interrupt_at(process: subprocess.Popen[str], stream: Any, text: str) -> None:
    """Press Ctrl-C in the terminal of a process once it has said something."""
    for line in stream:
        if text in line:
            os.killpg(process.pid, signal.SIGINT)
            return
    raise AssertionError(f"it never said {text}: {process.communicate()}")


def lines_of(text: str) -> list[str]:
    return [line for line in text.splitlines() if line and "%" not in line[:5] and line != "LOADING"]


@pytest.mark.parametrize("module", ["torch", "monai", "pydantic"])
def test_while_a_module_is_loaded(module: str, tmp_path: Path) -> None:
    """Where an exception would end in a traceback, or in C++'s "terminate called"."""
    (tmp_path / f"{module}.py").write_text(SLOW_MODULE)
    words = ["-m", "SegAdversarialLib", "segment", "--phantom", "7", "--output", str(tmp_path / "results")]
    process = start(words, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")
    interrupt_at(process, process.stderr, "LOADING")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and not output
    assert lines_of(errors) == ["segadversarial: Stopped; what was finished before is kept."]
    assert not (tmp_path / "results").exists()


def test_while_it_works(tmp_path: Path) -> None:
    words = ["attack", "--phantom", "7", "--phantom-size", "32", "--device", "cpu", "--output", str(tmp_path)]
    words += ["--attack", "uniform-noise", "--attack", "pgd", "--set", "pgd.steps=10000"]
    process = start(["-m", "SegAdversarialLib", *words], TERM="dumb")
    interrupt_at(process, process.stderr, "PGD: step")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert lines_of(errors) == ["segadversarial: Stopped; what was finished before is kept."]
    assert (tmp_path / "uniform-noise" / "result.json").is_file() and not (tmp_path / "pgd").exists()
    assert not list(tmp_path.rglob(".partial*"))


def test_in_the_worker() -> None:
    process = start(["-m", "SegAdversarialLib", "worker"])
    assert process.stdout is not None and "ready" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.wait(timeout=60)  # before its input is closed, which ends it, too
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and len(errors.splitlines()) == 1 and "Stopped" in errors


def test_in_the_demonstration(tmp_path: Path) -> None:
    """The set-up command leaves Ctrl-C to the program that it has started, and gives its exit status back."""
    code = """if True:
        import sys
        sys.path.insert(0, sys.argv[1])
        from processes import run, stopped_in_one_line
        with stopped_in_one_line():
            status = run([sys.executable, *sys.argv[2:]])
        sys.exit(status)
    """
    words = ["attack", "--phantom", "7", "--phantom-size", "32", "--device", "cpu", "--output", str(tmp_path)]
    words += ["--attack", "pgd", "--set", "steps=10000"]
    process = start(["-c", code, str(ROOT / "Testing"), "-m", "SegAdversarialLib", *words], TERM="dumb")
    interrupt_at(process, process.stderr, "PGD: step")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert lines_of(errors) == ["segadversarial: Stopped; what was finished before is kept."]


def test_while_it_is_installed(tmp_path: Path) -> None:
    code = """if True:
        import sys
        sys.path.insert(0, sys.argv[1])
        from processes import run_with_steps, step_of_pip, stopped_in_one_line
        pip = "import time; print('Collecting torch', flush=True); time.sleep(60)"
        with stopped_in_one_line():
            run_with_steps([sys.executable, "-c", pip], step_of_pip, "looking for PyTorch")
    """
    process = start(["-c", code, str(ROOT / "Testing")])
    interrupt_at(process, process.stdout, "looking for")
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130 and lines_of(errors) == ["Stopped; run this command again to go on."]


def test_what_is_being_written_disappears_and_what_was_there_stays(tmp_path: Path) -> None:
    """Wherever the program is when it ends at once, or an exception comes that is no error of a file."""
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / files.RESULT_MARKER).write_text("earlier")
    with files.whole_file(tmp_path / "file") as file, files.whole_folder(tmp_path / "new") as folder:
        file.write_text("half")
        (folder / "half").write_text("half")
        files.remove_unfinished()
        assert sorted(x.name for x in tmp_path.iterdir()) == ["result"]
        folder.mkdir()
        file.write_text("whole")
    with pytest.raises(KeyboardInterrupt), files.whole_folder(tmp_path / "result"):
        raise KeyboardInterrupt
    assert (tmp_path / "result" / files.RESULT_MARKER).read_text() == "earlier"
    assert sorted(x.name for x in tmp_path.iterdir()) == ["file", "new", "result"]


def test_an_earlier_result_survives_an_interruption_of_the_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "result").mkdir()
    (tmp_path / "result" / files.RESULT_MARKER).write_text("earlier")
    replace, calls = os.replace, []

    def interrupted(source: Path, target: Path) -> None:
        calls.append(source)
        if len(calls) == 2:  # the earlier one has gone, the new one has not come yet
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt), files.whole_folder(tmp_path / "result"):
        pass
    assert [x.name for x in tmp_path.iterdir()] == ["result"]
    assert (tmp_path / "result" / files.RESULT_MARKER).read_text() == "earlier"
