"""A file that is being downloaded, piece after piece, in this process or in several one after the other."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from SegAdversarialLib.formats.fetching.store import Sums

_LARGEST_NOTES = 1 << 14


@dataclass(frozen=True)
class Origin:
    """What a server said of the file that it sends, by which a changed one is known.

    Attributes:
        url: where it was asked for.
        etag: its mark for this content; "": it gives none.
        modified: the time of its last change, as the server wrote it; "": not said.
        total: bytes of all of it; None: not said.
    """

    url: str
    etag: str = ""
    modified: str = ""
    total: int | None = None

    @property
    def condition(self) -> str:
        """What a server compares before it goes on; "": nothing that it could compare exactly."""
        return self.modified if not self.etag or self.etag.startswith("W/") else self.etag

    def may_go_on_with(self, other: Origin) -> bool:
        """Whether what another answer sends may be the same content."""
        alike = [(self.etag, other.etag), (self.modified, other.modified), (self.total, other.total)]
        return self.url == other.url and all(not one or not two or one == two for one, two in alike)

    def with_news(self, other: Origin) -> Origin:
        """This, and what a later answer says and the earlier ones did not."""
        total = self.total if other.total is None else other.total
        return Origin(self.url, self.etag or other.etag, self.modified or other.modified, total)


class Part:
    """What has come of a file so far, on disk, with its sums.

    Every byte is handed to the operating system at once: what a killed process has had is there for the next one.

    Args:
        path: where it lies; a file of the same name and ".json" says where it comes from.

    Attributes:
        origin: what the server said; None: nothing has come yet.
        size: bytes that are there.
        pieced: whether they came over more than one connection.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._notes = path, path.with_name(path.name + ".json")
        self.origin = self._read_origin()
        self.size, self.pieced = 0, False
        self._stream: IO[bytes] | None = None
        self._new_sums()
        if self.origin is None:
            path.unlink(missing_ok=True)  # of a start that got no further than its name
        elif path.exists():
            with path.open("rb") as stream:
                while block := stream.read(1 << 20):
                    self._count(block)
            self.pieced = self.size > 0

    @property
    def sums(self) -> Sums:
        """The sums of what is there."""
        return Sums(self._sha1.hexdigest(), self._sha256.hexdigest())

    def begin(self, origin: Origin, goes_on: bool) -> None:
        """Bytes will come: from the start, or from where it broke off.

        Raises:
            OSError: nothing can be written.
        """
        self.close()
        if not goes_on:
            self.discard()
        else:
            self.pieced = True
        self.origin = origin if self.origin is None else self.origin.with_news(origin)
        self._notes.write_text(json.dumps(asdict(self.origin)), encoding="utf-8")
        self._stream = self.path.open("ab", buffering=0)

    def add(self, block: bytes) -> None:
        """Bytes have come.

        Raises:
            OSError: there is no room for all of them; those that fitted count.
        """
        assert self._stream is not None
        left = memoryview(block)
        while left:
            written = self._stream.write(left)
            self._count(left[:written])
            left = left[written:]

    def close(self) -> None:
        """Nothing more comes for now."""
        if self._stream is not None:
            os.fsync(self._stream.fileno())
            self._stream.close()
            self._stream = None

    def discard(self) -> None:
        """Nothing has come.

        Raises:
            OSError: it cannot be taken away.
        """
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        for path in (self.path, self._notes):
            path.unlink(missing_ok=True)
        self.origin, self.size, self.pieced = None, 0, False
        self._new_sums()

    def become(self, place: Path) -> None:
        """It is whole: it gets its name.

        Raises:
            OSError: it cannot get it.
        """
        self.close()
        os.replace(self.path, place)
        self._notes.unlink(missing_ok=True)

    def _new_sums(self) -> None:
        self._sha1, self._sha256 = hashlib.sha1(usedforsecurity=False), hashlib.sha256()

    def _count(self, block: bytes | memoryview) -> None:
        self._sha1.update(block)
        self._sha256.update(block)
        self.size += len(block)

    def _read_origin(self) -> Origin | None:
        try:
            with self._notes.open("rb") as stream:
                found = Origin(**json.loads(stream.read(_LARGEST_NOTES)))
        except (OSError, ValueError, TypeError, RecursionError):
            return None
        kinds = {"url": str, "etag": str, "modified": str, "total": int | None}
        return found if all(isinstance(getattr(found, key), kind) for key, kind in kinds.items()) else None
