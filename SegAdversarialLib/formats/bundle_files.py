"""Where a MONAI bundle's files are: in a folder, in a zip archive, read as it is, or in an exported TorchScript file."""

from __future__ import annotations

import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.formats.bundle_config import LARGEST
from SegAdversarialLib.volumes.files import is_file

CONFIGS = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")
METADATA = "configs/metadata.json"

_LARGEST_WEIGHTS = 1 << 34
_MOST_MEMBERS = 20_000
_STRONGEST = 1000
"""So many times smaller than its content a packed file may be: weights hardly get smaller at all."""


@dataclass(frozen=True)
class BundleFiles:
    """The files of one bundle, by their names relative to its root.

    Attributes:
        path: the folder, or the archive.
        prefix: of an archive, what stands before the names of the bundle's files in it; None: it is a folder.
        config: the name of the configuration for inference; "": there is none.
        weights: the name of the file with the weights, where that was given; None: the configuration says it.
    """

    path: Path
    prefix: str | None
    config: str
    weights: str | None = None

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        if self.prefix is None:
            return is_file(self.path / name)
        with zipfile.ZipFile(self.path) as archive:
            return self.prefix + name in archive.namelist()

    def text(self, name: str) -> str | None:
        """A small file's text; None: there is none.

        Raises:
            InputError: it cannot be read, or is no small text.
        """
        if not self.has(name):
            return None
        try:
            with self._open(name) as stream:
                content = stream.read(LARGEST + 1)
            if len(content) > LARGEST:
                raise InputError(f"{self.path / name} is larger than 1 MiB, so that it is no configuration of a bundle.")
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InputError(f"{self.path / name} is no text in UTF-8; a bundle's configuration is.") from None
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise InputError(f"{self.path / name} cannot be read ({detail_of(error)}); download it again.") from error

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """A file on disk; of an archive, a copy of it in a temporary folder of one's own while this lasts.

        Raises:
            InputError: it is damaged, or unbelievably large.
        """
        if self.prefix is None:
            yield self.path / name
            return
        with tempfile.TemporaryDirectory(prefix="segadversarial-") as folder:
            copy = Path(folder) / PurePosixPath(name).name
            try:
                with self._open(name) as packed, copy.open("wb") as stream:
                    shutil.copyfileobj(packed, stream, 1 << 20)
            except (OSError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
                raise InputError(
                    f"{name} in {self.path} cannot be unpacked ({detail_of(error)}); download it again."
                ) from error
            yield copy

    @contextmanager
    def _open(self, name: str):  # type: ignore[no-untyped-def]  # binary streams of either kind
        if self.prefix is None:
            with (self.path / name).open("rb") as stream:
                yield stream
            return
        with zipfile.ZipFile(self.path) as archive, archive.open(self.prefix + name) as stream:
            yield stream


def find(path: Path) -> BundleFiles | None:
    """The bundle that a path means: its folder, its zip archive, its configuration, or its weights; None: it is none.

    Raises:
        InputError: it is an archive that could do harm.
    """
    if path.is_dir():
        return _in_folder(path)
    if not is_file(path):
        return None
    if path.suffix.lower() in (".json", ".yaml", ".yml"):
        return _of_config(path)
    if path.parent.name == "models" and (found := _in_folder(path.parent.parent)) is not None and found.config:
        return BundleFiles(found.path, None, found.config, f"models/{path.name}")
    return _in_archive(path) if _begins_as_zip(path) else None


def _in_folder(folder: Path) -> BundleFiles | None:
    there = [name for name in (*CONFIGS, METADATA) if is_file(folder / name)]
    if not there:
        return None
    return BundleFiles(folder, None, "" if there[0] == METADATA else there[0])


def _of_config(path: Path) -> BundleFiles | None:
    """A configuration in the folder configs of a bundle: inference.json, or another one that names a network."""
    if path.parent.name != "configs":
        return None
    try:
        text = path.read_text(encoding="utf-8") if path.stat().st_size <= LARGEST else ""
    except (OSError, ValueError):
        return None
    return BundleFiles(path.parent.parent, None, f"configs/{path.name}") if "network_def" in text else None


def _begins_as_zip(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return stream.read(4) == b"PK\3\4"
    except OSError:
        return False


def _in_archive(path: Path) -> BundleFiles | None:
    """A bundle packed as a whole, with its folder or without."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (zipfile.BadZipFile, OSError, NotImplementedError):
        return None
    names = {x.filename for x in members}
    for known in (*CONFIGS, METADATA):
        for name in sorted(names, key=len):
            prefix = name.removesuffix(known)
            if name.endswith(known) and prefix.count("/") == (1 if prefix else 0) and (not prefix or prefix.endswith("/")):
                _check(path, members)
                return BundleFiles(path, prefix, "" if known == METADATA else known)
    return None


def _check(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Refuse an archive that reaches out of its folder, or is a bomb."""
    if len(members) > _MOST_MEMBERS:
        raise InputError(f"The archive {path} holds {len(members):,} files; a bundle has a few dozen: download it again.")
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in member.filename:
            raise InputError(f'The archive {path} holds "{member.filename}", a name outside its folder; it is not opened.')
        if stat.S_ISLNK(member.external_attr >> 16):
            raise InputError(f'The archive {path} holds "{member.filename}", a link to somewhere else; it is not opened.')
        if member.file_size > _LARGEST_WEIGHTS or member.file_size > _STRONGEST * max(member.compress_size, 1024):
            raise InputError(
                f'The archive {path} holds "{member.filename}", {member.file_size:,} bytes packed into '
                f"{member.compress_size:,}; it is not opened."
            )
