"""Files that can be described although they do not open as they stand: what they are, what is missing, and the way out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from SegAdversarialLib.errors import InputError


class NotOpened(InputError):
    """A file that is known, and not opened as it stands.

    Attributes:
        path: it.
        what: it in words that go on from "FILE is".
        missing: what has to be said or to be there: "network", "channels" and "classes" are settings, all else is words.
        way_out: what would open it, as a part of a sentence.
        never: no setting would open it here.
        programs: the files in it that could run code.
        runs: what in them could, in words.
        spared: what its own tool would run in it and this software does not, in words.
        problem: a sentence on what in it is not done here; "": `what` says it.
    """

    def __init__(
        self,
        message: str,
        path: Path,
        what: str,
        missing: Sequence[str] = (),
        way_out: str = "",
        *,
        never: bool = False,
        programs: Sequence[Path] = (),
        runs: Sequence[str] = (),
        spared: str = "",
        problem: str = "",
    ) -> None:
        super().__init__(message)
        self.path, self.what, self.missing, self.way_out, self.never = path, what, tuple(missing), way_out, never
        self.programs, self.runs, self.spared, self.problem = tuple(programs), tuple(runs), spared, problem


class NotInstalled(InputError):
    """A package is not installed that a network needs."""


class NotSupported(InputError):
    """Something that a network of another tool wants is known, and not done here."""


@contextmanager
def described_as(path: Path, what: str, spared: str = "", of: type[InputError] = NotSupported) -> Iterator[None]:
    """Let what is refused meanwhile be told as a file that is known, and not opened.

    Args:
        path: the file.
        what: as `NotOpened.what`.
        spared: as `NotOpened.spared`.
        of: the kind of refusal; others stay as they are.
    """
    try:
        yield
    except NotOpened:
        raise
    except of as error:
        way_out = str(error).rpartition("; ")[2].rstrip(".")
        raise NotOpened(str(error), path, what, way_out=way_out, never=True, spared=spared, problem=str(error)) from error
