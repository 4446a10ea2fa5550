"""What the tests of faults share: children that may be killed or held short, and what lies on disk afterwards."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import tiny_network, toy_case

from SegAdversarialLib import InputError, SegmentationModel
from SegAdversarialLib.jobs import make_job, run

KILLED = 137
BROKEN = 1
needs_fork = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children are forked and held short as on Linux")


def toy_model(source: Any = None) -> SegmentationModel:
    """A small network that was opened already; takes what a job's opener takes."""
    network = tiny_network().float()
    return SegmentationModel.from_network(network, channels=("A", "B"), classes=("background", "core", "rim"))


def toy_job(folder: Path, *attacks: dict[str, Any], kind: str = "attack", **more: Any) -> Any:
    """A job on a small case in `folder`, with its results in `folder`/out."""
    if not (folder / "case").exists():
        toy_case((8, 10, 12)).write(folder / "case", ".nrrd")
    files = {name: str(folder / "case" / f"{name}.nrrd") for name in ("A", "B")}
    said: dict[str, Any] = {"kind": kind, "case": {"channels": files, "label": str(folder / "case" / "label.nrrd")}}
    if kind == "attack":
        said["attacks"] = attacks or ({"attack": "fgsm"}, {"attack": "pgd", "steps": 3})
    if kind == "evaluate":
        said["adversarial"] = {"A": files["B"]}
    return make_job({**said, "output": str(folder / "out"), "ending": ".nrrd", **more})


def run_toy(job: Any, **more: Any) -> list[dict[str, Any]]:
    """Run a job with the small network."""
    return run(job, open_model=toy_model, **more)


def in_child(work: Callable[..., Any], *arguments: Any) -> int:
    """Do something in a forked process; 0 if it ended well, `KILLED`, or `BROKEN` with the traceback on standard error."""
    process = os.fork()
    if process == 0:
        try:
            work(*arguments)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
            os._exit(BROKEN)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def sentence_of(work: Callable[[], Any]) -> str:
    """The one sentence with which something is refused."""
    with pytest.raises(InputError) as caught:
        work()
    assert_sentence(str(caught.value))
    return str(caught.value)


def assert_sentence(text: str) -> None:
    """Something that people can read: one line, of readable length, without a library's stack."""
    assert text and "\n" not in text and len(text) < 3000, text
    assert "Traceback" not in text and text.endswith((".", ")")), text


def listing(folder: Path) -> dict[str, bytes | None]:
    """All that lies in a folder, folders as None."""
    return {str(x.relative_to(folder)): x.read_bytes() if x.is_file() else None for x in sorted(folder.rglob("*"))}


def unfinished(folder: Path) -> list[str]:
    """What is half-written, or was half taken away."""
    return [x for x in listing(folder) if ".partial" in x or ".replaced" in x]


def spread(count: int, most: int = 6) -> list[int]:
    """Places from the first to the last of `count`, not more than `most`."""
    return sorted({round(n * (count - 1) / (most - 1)) for n in range(most)})


@contextmanager
def limited(kind: str, value: int) -> Iterator[None]:
    """A limit of this process, such as RLIMIT_AS."""
    import resource

    number = getattr(resource, kind)
    earlier = resource.getrlimit(number)
    resource.setrlimit(number, (value, earlier[1]))
    try:
        yield
    finally:
        resource.setrlimit(number, earlier)


def address_space() -> int:
    """Bytes of address space that this process has taken."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
