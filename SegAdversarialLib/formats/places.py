"""Files and folders that lie on disk or in a zip archive, which is looked through first and read as it is.

What lies in an archive is called ARCHIVE.zip/ITS/NAME, as if the archive were a folder.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.plain_pickle import member_of_zip
from SegAdversarialLib.volumes.archives import begins_as_zip, checked_zip, copy_member, read_member
from SegAdversarialLib.volumes.files import is_file


@dataclass(frozen=True)
class Place:
    """A file or a folder.

    Attributes:
        path: where it lies; in an archive what it is called.
        archive: the archive that it lies in; None: it lies on disk.
    """

    path: Path
    archive: Path | None = None

    @classmethod
    def of(cls, path: Path) -> Place:
        """The place that a path means: on disk, or in the archive that it goes on from."""
        above = next((x for x in (path, *path.parents) if os.path.exists(x)), path)
        return cls(path, above if above != path and is_file(above) and begins_as_zip(above) else None)

    def __truediv__(self, name: str) -> Place:
        return Place(self.path / name, self.archive)

    @property
    def name(self) -> str:
        """Its last name."""
        return self.path.name

    @property
    def parent(self) -> Place:
        """The folder that it lies in."""
        return Place(self.path.parent, self.archive)

    @property
    def file(self) -> Path:
        """The file on disk that holds it: the archive where there is one."""
        return self.archive or self.path

    def absolute(self) -> Place:
        """The same with an absolute path."""
        return Place(self.path.absolute(), None if self.archive is None else self.archive.absolute())

    def is_file(self) -> bool:
        """Whether there is such a file."""
        return is_file(self.path) if self.archive is None else self.inside in _names(self.archive)

    def is_folder(self) -> bool:
        """Whether there is such a folder."""
        if self.archive is None:
            return os.path.isdir(self.path)
        return any(x.startswith(f"{self.inside}/".lstrip("/")) for x in _names(self.archive))

    def folders(self) -> list[Place]:
        """The folders in it, sorted, without hidden ones.

        Raises:
            InputError: it cannot be read.
        """
        if self.archive is not None:
            start = f"{self.inside}/".lstrip("/")
            below = {x[len(start) :].partition("/") for x in _names(self.archive) if x.startswith(start)}
            return [self / x for x in sorted({first for first, slash, _ in below if slash and not first.startswith(".")})]
        try:
            found = sorted(x for x in self.path.iterdir() if x.is_dir() and not x.name.startswith("."))
        except OSError as error:
            raise InputError(
                f"The folder {self.path} cannot be read ({error.strerror or error}); give a folder that you may read."
            ) from error
        return [Place(x) for x in found]

    def content(self, most: int) -> bytes:
        """All bytes of a file.

        Args:
            most: so many it may have.

        Raises:
            InputError: it has more, or cannot be read.
        """
        if self.archive is not None:
            with checked_zip(self.archive) as archive:
                return read_member(archive, self.inside, most)
        try:
            with self.path.open("rb") as stream:
                found = stream.read(most + 1)
        except OSError as error:
            raise InputError(f"{self.path} cannot be read ({error.strerror or error}); check the file.") from error
        if len(found) > most:
            raise InputError(f"{self.path} has more than {most:,} bytes; download or copy it again.")
        return found

    def pickle(self) -> bytes | None:
        """The pickle in a file that torch.save wrote; None: there is none, or the file is no such archive.

        Raises:
            InputError: the file cannot be read.
        """
        if self.archive is None:
            return member_of_zip(self.path)
        state = self.archive.stat()
        return _pickle_within(self, state.st_mtime_ns, state.st_size)

    @contextmanager
    def on_disk(self) -> Iterator[Path]:
        """A file on disk; of an archive, a copy of it in a temporary folder of one's own while this lasts.

        Raises:
            InputError: the archive is damaged or could do harm, or there is no room for the copy.
        """
        if self.archive is None:
            yield self.path
            return
        with tempfile.TemporaryDirectory(prefix="segadversarial-") as folder:
            copy = Path(folder) / self.name
            with checked_zip(self.archive) as archive:
                copy_member(archive, self.inside, copy)
            yield copy

    @property
    def inside(self) -> str:
        """Its name in the archive; "": all of it."""
        assert self.archive is not None
        return "" if self.path == self.archive else self.path.relative_to(self.archive).as_posix()


def _names(archive: Path) -> frozenset[str]:
    """The files in an archive by their names.

    Raises:
        InputError: it is damaged, or could do harm.
    """
    state = archive.stat()
    return _listed(archive, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=4)
def _listed(archive: Path, _changed: int, _size: int) -> frozenset[str]:
    with checked_zip(archive) as opened:
        return frozenset(x.filename for x in opened.infolist() if not x.is_dir())


@lru_cache(maxsize=4)
def _pickle_within(place: Place, _changed: int, _size: int) -> bytes | None:
    """Kept, as reading on in what is packed means unpacking all that lies before."""
    with place.on_disk() as copy:
        return member_of_zip(copy)
