"""A disk that is full, cannot be written to, or goes away: one sentence, nothing half-written, and the next run works."""

from __future__ import annotations

import builtins
import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fault_helpers import assert_sentence, in_child, limited, listing, needs_fork, run_toy, sentence_of, toy_job, unfinished

from SegAdversarialLib import InputError
from SegAdversarialLib.volumes.files import whole_file, whole_folder
from SegAdversarialLib.volumes.json_data import write_json

ROOM = 1000
"""Bytes that the disk still takes: less than any volume of the case."""


@contextmanager
def full(monkeypatch: pytest.MonkeyPatch, after: int) -> Iterator[None]:
    """No room is left once `after` files have been opened for writing."""
    count, opened = [0], builtins.open

    def fails(file: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        if any(x in mode for x in "wax+"):
            count[0] += 1
            if count[0] > after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        return opened(file, mode, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", fails)
        patch.setattr("io.open", fails)
        yield


@needs_fork
@pytest.mark.parametrize("kind", ["attack", "segment", "evaluate"])
def test_no_room_for_a_volume(kind: str, tmp_path: Path) -> None:
    """Writers in C++ meet the end of the disk, too: here a limit of a file's length."""
    import signal

    job = toy_job(tmp_path, kind=kind)
    said = tmp_path / "said"

    def short_of_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with limited("RLIMIT_FSIZE", ROOM), pytest.raises(InputError) as caught:
            run_toy(job)
        said.write_text(str(caught.value))

    assert in_child(short_of_room) == 0
    assert_sentence(said.read_text())
    assert "out" in said.read_text() and not unfinished(tmp_path)
    assert not list((tmp_path / "out").rglob("result.json"))
    assert run_toy(job)


@pytest.mark.parametrize("after", [0, 1, 2, 3, 5, 8])
def test_no_room_for_one_file_more(after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = toy_job(tmp_path)
    first = run_toy(toy_job(tmp_path, {"attack": "ifgsm", "steps": 2}))
    before = listing(tmp_path / "out" / "ifgsm")
    with full(monkeypatch, after):
        try:
            run_toy(job)
        except InputError as error:
            assert_sentence(str(error))
            assert "No space left" in str(error) and "disk with room" in str(error)
    assert listing(tmp_path / "out" / "ifgsm") == before and not unfinished(tmp_path)
    assert len(run_toy(job)) >= len(first) + 2


@pytest.mark.parametrize("place", ["a file in the way", "not allowed"])
def test_a_folder_that_cannot_be_written_to(place: str, tmp_path: Path) -> None:
    toy_job(tmp_path)
    locked = tmp_path / "locked"
    if place == "a file in the way":
        locked.write_text("mine")
    else:
        if not hasattr(os, "geteuid") or os.geteuid() == 0:
            pytest.skip("everything may be written to by this user")
        locked.mkdir(mode=0o500)
    job = toy_job(tmp_path, output=str(locked / "out"))
    assert "Cannot write" in sentence_of(lambda: run_toy(job))
    assert locked.is_dir() or locked.read_text() == "mine"
    assert run_toy(toy_job(tmp_path))


@pytest.mark.parametrize("when", ["fgsm", "PGD"])
def test_the_output_folder_vanishes(when: str, tmp_path: Path) -> None:
    """It is made again, or missed in a sentence; what is there at the end is whole."""
    job, gone = toy_job(tmp_path), []

    def vanish(event: dict[str, Any]) -> None:
        if not gone and when.lower() in str(event.get("message", "")).lower():
            gone.append(shutil.rmtree(tmp_path / "out", ignore_errors=True))

    try:
        run_toy(job, emit=vanish)
    except InputError as error:
        assert_sentence(str(error))
    assert gone and not unfinished(tmp_path)
    assert run_toy(toy_job(tmp_path, overwrite=True))


def test_the_images_vanish_between_two_runs(tmp_path: Path) -> None:
    job = toy_job(tmp_path)
    run_toy(job)
    before = listing(tmp_path / "out")
    shutil.move(tmp_path / "case", tmp_path / "elsewhere")
    assert "There is no file" in sentence_of(lambda: run_toy(job))
    assert listing(tmp_path / "out") == before
    shutil.move(tmp_path / "elsewhere", tmp_path / "case")
    assert run_toy(toy_job(tmp_path, overwrite=True))


@needs_fork
@pytest.mark.parametrize("writer", [whole_file, whole_folder])
def test_what_a_killed_writer_left_goes_with_the_next(writer: Any, tmp_path: Path) -> None:
    write_json(tmp_path / "other.json", 1)

    def killed() -> None:
        with writer(tmp_path / "it") as temporary:
            (temporary if writer is whole_file else temporary / "result.json").write_text("half")
            os.kill(os.getpid(), 9)

    assert in_child(killed) == -9 and unfinished(tmp_path) and not (tmp_path / "it").exists()
    write_json(tmp_path / "other.json", 2)  # another file is no reason to touch what may still be written
    assert unfinished(tmp_path)
    with writer(tmp_path / "it") as temporary:
        (temporary if writer is whole_file else temporary / "result.json").write_text("whole")
    assert not unfinished(tmp_path) and (tmp_path / "it").exists()


def test_who_still_writes_is_left_alone(tmp_path: Path) -> None:
    """Two processes, or two Slicers, that write the same name: the one that ends last stays, and neither breaks the other."""
    with whole_file(tmp_path / "it") as first:
        first.write_text("first")
        with whole_file(tmp_path / "it") as second:
            second.write_text("second")
            assert first.exists()
        assert (tmp_path / "it").read_text() == "second"
    assert (tmp_path / "it").read_text() == "first" and not unfinished(tmp_path)
