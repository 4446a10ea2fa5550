"""Which programs may be opened: those whose bytes the user has said to trust, known by their SHA-256, never by their place.

A decision that is remembered is one small file, named like the SHA-256 of the content that it is about. So a changed file asks
again, a moved one does not, and two processes that remember and forget at once cannot spoil each other's decisions.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.users_folders import users_folder
from SegAdversarialLib.volumes.files import whole_file

FOLDER = "SEGADVERSARIAL_CONFIG"
"""The environment variable that names another folder than the user's own for what is remembered."""

Trust = bool | Sequence[str]
"""Whose word it is: True, all that is opened now; SHA-256 sums, files with exactly these bytes; False, what is remembered."""

_SUM = re.compile(r"[0-9a-f]{64}")
_SHORTEST = 8
_LARGEST = 1 << 16
_MOST_SUMS = 1000


@dataclass(frozen=True)
class Decision:
    """One content that is trusted.

    Attributes:
        sha256: the sum of its bytes.
        name: what the file was called when it was decided.
        size: its bytes.
        when: the day and time, UTC.
        scan: what the scanner said of it then.
    """

    sha256: str
    name: str
    size: int
    when: str
    scan: str


def config_folder() -> Path:
    """Where this user's decisions are kept; it need not be there."""
    if given := os.environ.get(FOLDER):
        return Path(given)
    return users_folder("config")


def digest(path: Path) -> str:
    """The SHA-256 of a file's bytes.

    Raises:
        InputError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); give a file that you may read.") from error


_sums: dict[tuple[Any, ...], str] = {}


def known_digest(path: Path) -> str:
    """As `digest`, but a file is read once, until a folder shows that it has changed: to ask by, never to open by.

    Raises:
        InputError: it cannot be read.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); give a file that you may read.") from error
    key = str(path.absolute()), state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns
    if key not in _sums:
        while len(_sums) >= _MOST_SUMS:
            del _sums[next(iter(_sums))]
        _sums[key] = digest(path)
    return _sums[key]


def trusts(trust: Trust, sums: Iterable[str]) -> bool:
    """Whether all of these contents may be opened: by the user's word now, or by what is remembered."""
    if isinstance(trust, Sequence):
        return all(x in trust or remembers(x) for x in sums)
    return bool(trust) or all(remembers(x) for x in sums)


def without_trust(data: Any) -> Any:
    """JSON data without any word on trust, at any depth: that somebody trusted a file once is no reason to open it again."""
    if isinstance(data, dict):
        return {key: without_trust(x) for key, x in data.items() if key != "trust"}
    return [without_trust(x) for x in data] if isinstance(data, (list, tuple)) else data


def remembers(sha256: str) -> bool:
    """Whether the user has said once and for all that this content is trusted."""
    return _decision(_file(sha256)) is not None if _SUM.fullmatch(sha256) else False


def remember(path: Path, sha256: str, scan: str = "") -> Decision:
    """Remember that this content is trusted, wherever it may lie.

    Args:
        path: the file, for its name and size alone.
        sha256: the sum of the bytes that the user was asked about.
        scan: what the scanner said of them.

    Raises:
        InputError: the decision cannot be written.
    """
    when = datetime.now(UTC).isoformat(timespec="seconds")
    found = Decision(sha256, path.name, path.stat().st_size, when, scan)
    with whole_file(_file(sha256)) as temporary:
        temporary.write_text(json.dumps(found.__dict__, ensure_ascii=False, indent=2), encoding="utf-8")
    return found


def decisions() -> list[Decision]:
    """All that is remembered, the oldest first; what is damaged counts as not there."""
    try:
        files = sorted(_folder().glob("*.json"))
    except OSError:
        return []
    return sorted((x for x in map(_decision, files) if x is not None), key=lambda x: (x.when, x.sha256))


def forget(which: Sequence[str]) -> list[Decision]:
    """Trust these contents no more.

    Args:
        which: each the beginning of a SHA-256 (8 letters or more), a name, or a file with the content.

    Raises:
        InputError: nothing of that kind is remembered, or it cannot be taken away; then nothing is forgotten.
    """
    known = decisions()
    found: dict[str, Decision] = {}
    for text in which:
        path = Path(text)
        own = digest(path) if path.is_file() else ""
        chosen = [x for x in known if x.sha256 == own or x.name == text or _begins(x.sha256, text)]
        if not chosen:
            raise InputError(f'Nothing is remembered of "{text}"; "segadversarial trust list" shows what is.')
        found |= {x.sha256: x for x in chosen}
    for sha256 in found:
        try:
            _file(sha256).unlink(missing_ok=True)
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"{_file(sha256)} cannot be taken away ({reason}); remove it yourself.") from error
    return list(found.values())


def _begins(sha256: str, text: str) -> bool:
    return len(text) >= _SHORTEST and sha256.startswith(text.lower())


def _folder() -> Path:
    return config_folder() / "trusted"


def _file(sha256: str) -> Path:
    return _folder() / f"{sha256}.json"


def _decision(file: Path) -> Decision | None:
    """What a file of decisions says; None: it says nothing, or speaks of another content than its name does."""
    try:
        with file.open("rb") as stream:
            data = json.loads(stream.read(_LARGEST))
        found = Decision(**data)
    except (OSError, ValueError, TypeError, RecursionError):
        return None
    kinds = {"sha256": str, "name": str, "size": int, "when": str, "scan": str}
    right = all(isinstance(getattr(found, key), kind) for key, kind in kinds.items())
    return found if right and found.sha256 == file.stem and _SUM.fullmatch(found.sha256) else None
