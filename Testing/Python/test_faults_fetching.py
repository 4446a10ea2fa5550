"""Downloads that are killed, cancelled, or meet a full disk or each other: never half a file, and the next one goes on."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import stat
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_helpers import in_child, needs_fork
from fetching_helpers import (  # noqa: F401
    HALF,
    NAME,
    assert_there,
    bundle,
    catalogued,
    content_fixture,
    entry_of,
    fetched,
    folder_fixture,
    refused,
    sends,
    serving,
)

from SegAdversarialLib.errors import Cancelled, InputError
from SegAdversarialLib.formats.fetching import store
from SegAdversarialLib.formats.fetching.part import Part


def test_cancelled_in_the_middle(content: bytes, folder: Path) -> None:
    heard: list[str] = []
    with serving(sends(content, upto=HALF, stalls=True), sends(content)) as server:
        with pytest.raises(Cancelled):
            fetched(server, content, folder, progress=lambda _, said: heard.append(said), cancel=lambda: len(heard) > 1)
        left = store.stored(folder)
        assert [x.whole for x in left] == [False] and 0 < left[0].size <= HALF
        server.answers = [sends(content)]
        assert_there(fetched(server, content, folder), content, folder)
    assert server.ranges[-1] == f"bytes={left[0].size}-"


@needs_fork
def test_killed_in_the_middle(content: bytes, folder: Path) -> None:
    def work() -> None:
        fetched(server, content, folder, progress=lambda fraction, _: fraction and os.kill(os.getpid(), signal.SIGKILL))

    with serving(sends(content)) as server:
        assert in_child(work) == -signal.SIGKILL
        left = store.stored(folder)
        assert [x.whole for x in left] == [False] and 0 < left[0].size < len(content)
        assert_there(fetched(server, content, folder), content, folder)  # its lock has gone with it
    assert server.ranges == ["", f"bytes={left[0].size}-"]


@needs_fork
def test_killed_between_the_last_byte_and_the_name(content: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def work() -> None:
        monkeypatch.setattr(Part, "become", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        fetched(server, content, folder)

    with serving(sends(content)) as server:
        assert in_child(work) == -signal.SIGKILL
        assert [(x.whole, x.size) for x in store.stored(folder)] == [(False, len(content))]
        assert_there(fetched(server, content, folder), content, folder)
    assert len(server.asked) == 1


def test_two_at_once(content: bytes, folder: Path) -> None:
    """One downloads, the other waits, and finds it there; nobody takes away what is being downloaded."""
    found: list[store.Stored] = []

    def work() -> None:
        found.append(fetched(server, content, folder))

    def slow(told: Any, request: Any) -> None:
        told.go.wait(20)
        sends(content)(told, request)

    with serving(slow) as server:
        threads = [threading.Thread(target=work) for _ in range(2)]
        for one in threads:
            one.start()
        wait_until(lambda: server.asked)
        (folder / f"{NAME}_v1.0.0.zip.part").write_bytes(b"")
        with pytest.raises(InputError, match="is being downloaded by another process"):
            store.remove([NAME], folder)
        server.go.set()
        for one in threads:
            one.join()
    assert len(server.asked) == 1 and len(found) == 2
    for one in found:
        assert_there(one, content, folder)


def wait_until(condition: Callable[[], Any]) -> None:
    for _ in range(2000):
        if condition():
            return
        threading.Event().wait(0.005)
    pytest.fail("it never came")


def test_a_wait_for_another_process_can_be_cancelled(content: bytes, folder: Path) -> None:
    folder.mkdir()
    asked: list[int] = []
    held = store.locked(store.place_of(entry_of(content), folder))
    with serving(sends(content)) as server, held, pytest.raises(Cancelled):
        fetched(server, content, folder, cancel=lambda: bool(asked.append(1)) or len(asked) > 1)
    assert server.asked == []


@needs_fork
def test_a_full_disk(content: bytes, folder: Path) -> None:
    """A limit of a file's length stops the write as a full disk does; what fitted is gone on with once there is room."""

    import resource

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (HALF, resource.RLIM_INFINITY))
        said = refused(server, content, folder)
        assert f"Cannot write in {folder} (File too large); make room on its disk" in said and "is kept" in said

    with serving(sends(content)) as server:
        assert in_child(work) == 0
        assert [(x.size, x.whole) for x in store.stored(folder)] == [(HALF, False)]
        assert_there(fetched(server, content, folder), content, folder)
    assert server.ranges == ["", f"bytes={HALF}-"]


def test_no_room_from_the_start(content: bytes, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 400_000))
    with serving(sends(content)) as server:
        said = refused(server, content, folder)
    assert said.startswith(f"The disk of {folder} has 0 MB left, and {NAME} needs 1 MB more") and server.asked == []


def test_folders_that_cannot_be_written_to(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    with serving(sends(content)) as server:
        for folder in (tmp_path / "file", tmp_path / "file" / "in it"):
            with pytest.raises(InputError, match=f"Cannot write {re.escape(str(folder))}"):
                fetched(server, content, folder)
        if os.geteuid():
            closed = tmp_path / "closed"
            closed.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
            with pytest.raises(InputError, match="Cannot write .*Permission denied"):
                fetched(server, content, closed)
    assert server.asked == []


def test_an_archive_that_could_do_harm_is_not_kept(folder: Path) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("../outside.txt", "x")
    with serving(sends(archive.getvalue())) as server:
        assert '"../outside.txt" leads out of the archive\'s folder' in refused(server, archive.getvalue(), folder)
    assert not [x for x in folder.iterdir() if not x.name.startswith(".")]


def test_spoilt_notes_of_a_part(content: bytes, folder: Path) -> None:
    """What says where a part comes from may be damaged, or speak of another server: then it begins anew."""
    for notes in ("", "[]", '{"url": 3}', "{" * 9000, '{"url": "http://elsewhere/x.zip"}'):
        with serving(sends(content, upto=HALF), sends(content)) as server:
            first, server.answers = server.answers, server.answers[:1]
            refused(server, content, folder)
            (folder / f"{NAME}_v1.0.0.zip.part.json").write_text(notes)
            server.answers = first[1:]
            assert_there(fetched(server, content, folder), content, folder)
            assert server.ranges[-1] == ""
        store.remove([NAME], folder)
