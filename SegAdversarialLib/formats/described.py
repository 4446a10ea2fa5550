"""Networks in the forms in which other tools keep them: each of their readers says in our words what such a file or folder is.

A reader is a module of this package with `describe(path) -> Described | None`. It tells its own kind by content, cheaply and
without torch, and runs nothing of what it reads.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.formats.recognition import Content

if TYPE_CHECKING:
    import torch

    from SegAdversarialLib.formats.settings import NetworkSettings

READERS: tuple[str, ...] = ("nnunet", "bundle", "auto3dseg", "exported")
"""The modules of this package that read other tools' networks, in the order in which they are asked."""


@dataclass(frozen=True)
class Described:
    """What another tool's file or folder says of its network.

    Attributes:
        content: what it is; its kind is "foreign".
        settings: channels, classes, preprocessing and all else, by the names of `ModelSettings`; the user's take their place.
        data: the file with the weights.
        files: all files that make the network what it is.
        load: makes the torch network for a device, from settings that are complete; it runs nothing that stands in the files,
            unless `runs` says so: then it also gets the SHA-256 of each of `files`, and runs no other bytes than these.
        runs: what in the files could run code, in words; none: it opens without trust.
        warnings: what is not as in the original tool, one sentence each.
        weights: the files with the weights, where there are several; `data` is the first.
        architecture: the network by its name, with which our own files describe it; None: it is a program.
        within: where in its files it stands, where they hold others beside it; "": they are this network alone.
        name: what results call it; "": what its file or folder is called.
    """

    content: Content
    settings: dict[str, Any]
    data: Path
    files: tuple[Path, ...]
    load: Callable[..., torch.nn.Module]
    runs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    weights: tuple[Path, ...] = ()
    architecture: Callable[[], NetworkSettings] | None = None
    within: str = ""
    name: str = ""


def described(path: Path) -> Described | None:
    """What another tool's file or folder says of its network; None: no reader knows it.

    Raises:
        InputError: a reader knows it, but it is damaged, or not all of it is there.
    """
    for name in READERS:
        if (found := _reader(name)(path)) is not None:
            return found
    return None


def _reader(name: str) -> Callable[[Path], Described | None]:
    reader: Callable[[Path], Described | None] = importlib.import_module(f"SegAdversarialLib.formats.{name}").describe
    return reader
