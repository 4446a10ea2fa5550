"""What a network file does not say by itself: its channels, classes, preprocessing and window."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from SegAdversarialLib.errors import InputError, first_problem
from SegAdversarialLib.model.acceleration import Acceleration
from SegAdversarialLib.model.preprocessing import Preprocessing


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassSettings(_Strict):
    """One output of a network."""

    label: int = Field(ge=0, le=32767, description="Value that it writes into a label map.")
    name: str = Field(description="What people call it.")
    stands_for: tuple[int, ...] = Field((), description="Reference label values that it covers; none: its own value.")


class NetworkSettings(_Strict):
    """An architecture from MONAI."""

    name: str = Field(description="A class of monai.networks.nets, such as UNet or SegResNet.")
    arguments: dict[str, Any] = Field(default_factory=dict, description="What the class is made with.")


class ModelSettings(_Strict):
    """The JSON file beside a network."""

    format: Literal["torchscript", "monai"] | None = Field(None, description="Kind of file; none: told from its name.")
    network: NetworkSettings | None = Field(None, description="The architecture, for files that hold weights alone.")
    weights: str | None = Field(None, description="Weights file, relative to the JSON file.")
    channels: tuple[str, ...] | None = Field(None, description="Case channels that the network takes, in its order.")
    classes: tuple[ClassSettings, ...] | None = Field(None, description="Its outputs, in their order.")
    head: Literal["softmax", "sigmoid"] = Field("softmax", description="softmax: exclusive classes; sigmoid: overlapping.")
    preprocessing: Preprocessing = Field(default_factory=Preprocessing, description="What is done to a case first.")
    window: tuple[int, ...] | None = Field(None, description="Voxels that it sees at once, in its axis order; none: all.")
    overlap: float = Field(0.5, ge=0, lt=1, description="Share of a window that its neighbour sees too.")
    size_multiple: int = Field(1, ge=1, description="Sizes that it takes are multiples of this.")
    window_batch: int | None = Field(None, ge=1, description="Windows in one go; none: chosen for the device and the network.")
    outputs: Literal["logits", "probabilities"] | None = Field(
        None, description="What it gives: logits, or the probabilities of a sigmoid or softmax inside it; none: found out."
    )
    output: int | str | None = Field(
        None, description="Which of several outputs is its answer, by place (from 0; -1 is the last) or name; none: found out."
    )
    in_place: bool | None = Field(None, description="It changes its input, and gets a copy each time; none: found out.")
    allow_random: bool = Field(False, description="It is meant to say something else each time it is asked the same.")
    acceleration: Acceleration = Field(default_factory=Acceleration, description="Switches for running it faster.")
    description: str = Field("", description="Anything for people.")

    @model_validator(mode="before")
    @classmethod
    def _classes_in_short(cls, data: Any) -> Any:
        """Also take {"0": "background", "1": "tumour"} and ["background", "tumour"]; for sigmoid a list counts from 1."""
        classes = data.get("classes") if isinstance(data, dict) else None
        if isinstance(classes, (list, tuple)) and all(isinstance(x, str) for x in classes):
            classes = dict(enumerate(classes, 1 if data.get("head") == "sigmoid" else 0))
        if isinstance(classes, Mapping):
            classes = [{"label": label, "name": name} for label, name in classes.items()]
        return {**data, "classes": classes} if isinstance(data, dict) and "classes" in data else data

    @field_validator("classes")
    @classmethod
    def _labels_differ(cls, classes: tuple[ClassSettings, ...] | None) -> tuple[ClassSettings, ...] | None:
        labels = [x.label for x in classes or ()]
        if len(set(labels)) != len(labels):
            raise ValueError(f"every class needs a label of its own; they are {labels}")
        return classes


def read_settings(path: Path, settings: str | Path | None, changes: Mapping[str, Any]) -> ModelSettings:
    """The settings of the network file `path`: from the JSON file named, or itself, or beside it, then the caller's changes.

    Raises:
        InputError: the JSON file is missing or damaged, or a setting is unknown or wrong.
    """
    source = Path(settings) if settings is not None else settings_beside(path)
    data: dict[str, Any] = {}
    if source is not None:
        try:
            data = json.loads(source.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"There is no settings file {source}; check the path.") from None
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"The settings file {source} is no readable JSON ({error}).") from error
        if not isinstance(data, dict):
            raise InputError(f"The settings file {source} must hold one JSON object; it holds a {type(data).__name__}.")
    data |= {key: value for key, value in changes.items() if value is not None}
    try:
        return ModelSettings(**data)
    except ValidationError as error:
        raise InputError(f"Settings of the network {path.name}: {first_problem(error)}") from None


def settings_beside(path: Path) -> Path | None:
    """The JSON file that belongs to a network file: itself, or the one beside it, named like it; None: there is none."""
    if path.suffix == ".json":
        return path
    candidates = [path.with_suffix(".json"), path.with_name(path.name + ".json")]
    return next((x for x in candidates if x.is_file()), None)
