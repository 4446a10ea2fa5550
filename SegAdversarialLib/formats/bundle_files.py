"""Where a MONAI bundle's files are: in a folder, in a zip archive, read as it is, or in an exported TorchScript file."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from SegAdversarialLib.errors import InputError, detail_of
from SegAdversarialLib.formats.bundle_config import LARGEST
from SegAdversarialLib.formats.naming import telling_name
from SegAdversarialLib.formats.trust import digest
from SegAdversarialLib.volumes.archives import begins_as_zip, check_directory, checked_zip, copy_member, read_member
from SegAdversarialLib.volumes.files import is_file

CONFIGS = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")
METADATA = "configs/metadata.json"


@dataclass(frozen=True)
class BundleFiles:
    """The files of one bundle, by their names relative to its root.

    Attributes:
        path: the folder, or the archive.
        prefix: of an archive, what stands before the names of the bundle's files in it; None: it is a folder.
        config: the name of the configuration for inference; "": there is none.
        weights: the name of the file with the weights, where that was given; None: the configuration says it.
        metadata: the name of the file that names channels and classes.
        is_program: the archive itself is the network, a TorchScript file that holds its configuration.
    """

    path: Path
    prefix: str | None
    config: str
    weights: str | None = None
    metadata: str = METADATA
    is_program: bool = False

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        if self.prefix is None:
            return is_file(self.path / name)
        with checked_zip(self.path) as archive:
            return self.prefix + name in archive.namelist()

    def name_for(self, given: Path) -> str:
        """What results call the network: as its folder or archive, with the file that was given where it is one of several."""
        own = telling_name(self.path)
        return own if given == self.path or given.stem in ("inference", "metadata", "model") else f"{own} {given.stem}"

    def text(self, name: str) -> str | None:
        """A small file's text; None: there is none.

        Raises:
            InputError: it cannot be read, or is no small text.
        """
        if not self.has(name):
            return None
        try:
            content = self._content(name)
            if len(content) > LARGEST:
                raise InputError(f"{self.path / name} is larger than 1 MiB, so that it is no configuration of a bundle.")
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InputError(f"{self.path / name} is no text in UTF-8; save it as UTF-8.") from None
        except OSError as error:
            raise InputError(f"{self.path / name} cannot be read ({detail_of(error)}); check the file.") from error

    def _content(self, name: str) -> bytes:
        if self.prefix is None:
            with (self.path / name).open("rb") as stream:
                return stream.read(LARGEST + 1)
        with checked_zip(self.path) as archive:
            return read_member(archive, self.prefix + name, LARGEST)

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """A file on disk; of an archive, a copy of it in a temporary folder of one's own while this lasts.

        Raises:
            InputError: it is damaged, or the archive could do harm.
        """
        if self.prefix is None:
            yield self.path / name
            return
        with tempfile.TemporaryDirectory(prefix="segadversarial-") as folder:
            copy = Path(folder) / PurePosixPath(name).name
            with checked_zip(self.path) as archive:
                copy_member(archive, self.prefix + name, copy)
            yield copy

    @contextmanager
    def unchanged(self, sums: Sequence[str]) -> Iterator[BundleFiles]:
        """The same; of an archive with a program a copy that nobody changes, in a temporary folder, while this lasts.

        Raises:
            InputError: the archive's SHA-256 is none of these sums.
        """
        if self.prefix is None or not sums:
            yield self
            return
        with tempfile.TemporaryDirectory(prefix="segadversarial-") as folder:
            copy = Path(folder) / self.path.name
            shutil.copyfile(self.path, copy)
            if digest(copy) not in sums:
                raise InputError(f"{self.path} changed while it was opened; open it again.")
            yield replace(self, path=copy)


def find(path: Path) -> BundleFiles | None:
    """The bundle that a path means: its folder, its zip archive, its configuration, or its weights; None: it is none.

    Raises:
        InputError: it is an archive that could do harm.
    """
    if os.path.isdir(path):
        return _in_folder(path)
    if not is_file(path):
        return None
    if path.suffix.lower() in (".json", ".yaml", ".yml"):
        return _of_config(path)
    if path.parent.name == "models" and (found := _in_folder(path.parent.parent)) is not None and found.config:
        return BundleFiles(found.path, None, found.config, f"models/{path.name}")
    return _in_archive(path) if begins_as_zip(path) else None


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


def _in_archive(path: Path) -> BundleFiles | None:
    """A bundle packed as a whole, with its folder or without."""
    try:
        check_directory(path, path)
        with zipfile.ZipFile(path) as archive:
            names = sorted(archive.namelist(), key=len)
    except (zipfile.BadZipFile, OSError, NotImplementedError, ValueError):
        return None
    extra = next((x.removesuffix("metadata.json") for x in names if x.endswith("/extra/metadata.json")), None)
    if extra is not None and extra.count("/") == 2 and any("/code/" in x for x in names):
        with checked_zip(path):
            config = "inference.json" if f"{extra}inference.json" in names else ""
            return BundleFiles(path, extra, config, "", "metadata.json", is_program=True)
    for known in (*CONFIGS, METADATA):
        for name in names:
            prefix = name.removesuffix(known)
            if name.endswith(known) and prefix.count("/") == (1 if prefix else 0) and (not prefix or prefix.endswith("/")):
                with checked_zip(path):
                    return BundleFiles(path, prefix, "" if known == METADATA else known)
    return None
