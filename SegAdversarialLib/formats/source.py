"""Which network, as plain data, and opening it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from SegAdversarialLib import formats
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.describing import NetworkDescription, describe_file
from SegAdversarialLib.formats.finding import is_name
from SegAdversarialLib.formats.settings import ModelSettings, Strict

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import SegmentationModel

DEFAULT_MODEL = "builtin:brain-tumour-phantom"


Sum = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""A SHA-256 in hexadecimal digits."""


class ModelSource(Strict):
    """Which network, and what is not in its own settings file."""

    path: str = Field(
        DEFAULT_MODEL, min_length=1, description="Network file, or the name of a built-in network or of one of the catalogue."
    )
    trust: bool | tuple[Sum, ...] = Field(
        False,
        description="The file's source is trusted, or the SHA-256 of bytes that are: programs (TorchScript) open only then.",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps.")
    settings: str | None = Field(None, description="JSON file with its settings; none: the one beside it.")
    changes: dict[str, Any] = Field(default_factory=dict, description="Settings that take the place of the file's.")

    def anywhere(self) -> ModelSource:
        """The same with absolute paths."""
        path = self.path if is_name(self.path) else str(Path(self.path).absolute())
        settings = None if self.settings is None else str(Path(self.settings).absolute())
        return self.model_copy(update={"path": path, "settings": settings})


Describer = Callable[[ModelSource], "NetworkDescription | None"]
"""Tells what is known of a network before it is opened: `describe_source`, or None where nothing is."""

Opener = Callable[[ModelSource], "SegmentationModel"]
"""Gives the network that a source names; `open_source`, unless networks are kept from job to job."""


def open_source(source: ModelSource) -> SegmentationModel:
    """Open the network that a job works with.

    Raises:
        InputError: the source changes something that no network has, or `open_model` does.
    """
    check_source(source)
    return formats.open_model(
        source.path, trust=source.trust, device=source.device, settings=source.settings, **source.changes
    )


def describe_source(source: ModelSource) -> NetworkDescription:
    """The network that a job works with as its settings describe it; it is not opened, and torch is not needed.

    Raises:
        InputError: the source changes something that no network has, or `describe_file` does.
    """
    check_source(source)
    return describe_file(source.path, source.settings, **source.changes)


def check_source(source: ModelSource) -> None:
    """Refuse a source that changes something that no network has.

    Raises:
        InputError: it does.
    """
    unknown = sorted(set(source.changes) - set(ModelSettings.model_fields))
    if unknown:
        raise InputError(f"A network has no setting {unknown[0]}; it has {', '.join(ModelSettings.model_fields)}.")
