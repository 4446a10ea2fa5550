"""What a network file does not say by itself: its channels, classes, preprocessing and window."""

from __future__ import annotations

import json
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from SegAdversarialLib.errors import InputError, first_problem, most_precise
from SegAdversarialLib.formats.recognition import recognise_json
from SegAdversarialLib.model.acceleration import Acceleration
from SegAdversarialLib.model.preprocessing import Preprocessing
from SegAdversarialLib.volumes.files import is_file
from SegAdversarialLib.volumes.json_data import read_object

_LARGEST = 1 << 20
"""Bytes of a settings file: larger JSON files are somebody else's."""


class Strict(BaseModel):
    """Data that holds nothing unknown and does not change."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassSettings(Strict):
    """One output of a network."""

    label: int = Field(ge=0, le=32767, description="Value that it writes into a label map.")
    name: str = Field(description="What people call it.")
    stands_for: tuple[int, ...] = Field((), description="Reference label values that it covers; none: its own value.")


_ClassName = Annotated[str, BeforeValidator(str)]
"""A class by its name or its label, which in Python is a number."""


class NetworkSettings(Strict):
    """An architecture: one of the papers', or one from MONAI."""

    name: str = Field(description="LiuUNet3D, LiuUNet2D, PervinUNet, ChengCascadedUNet, or a class of monai.networks.nets.")
    arguments: dict[str, Any] = Field(default_factory=dict, description="What the class is made with.")
    imported: tuple[str, ...] = Field((), description="Of nnU-Net's networks: arguments that name classes, such as conv_op.")
    copies: int = Field(1, ge=1, description="Networks of this kind whose logits are averaged, such as nnU-Net's folds.")


class ModelSettings(Strict):
    """The JSON file beside a network."""

    format: Literal["torchscript", "weights", "monai", "ensemble"] | None = Field(
        None, description="Kind of file (monai: weights, as older files say it); none: told from its content."
    )
    network: NetworkSettings | None = Field(None, description="The architecture, for files that hold weights alone.")
    weights: str | None = Field(None, description="The file with the weights or the program, relative to the JSON file.")
    members: tuple[str, ...] | None = Field(
        None, min_length=2, description="Of an ensemble: its networks' files, relative to the JSON file; else none."
    )
    weights_within: str | None = Field(
        None, description='Where in a checkpoint the weights are, if it holds several that fit: "ema", "state_dict.teacher".'
    )
    channels: tuple[str, ...] | None = Field(None, description="Case channels that the network takes, in its order.")
    classes: tuple[ClassSettings, ...] | None = Field(None, description="Its outputs, in their order.")
    stands_for: dict[_ClassName, tuple[int, ...]] | None = Field(
        None, description="Reference label values that classes cover, by their label or name, where not just their own."
    )
    head: Literal["softmax", "sigmoid"] = Field("softmax", description="softmax: exclusive classes; sigmoid: overlapping.")
    threshold: float = Field(0.5, gt=0, lt=1, description="For sigmoid: probability above which a region is present.")
    preprocessing: Preprocessing = Field(default_factory=Preprocessing, description="What is done to a case first.")
    window: tuple[int, ...] | None = Field(None, description="Voxels that it sees at once, in its axis order; none: all.")
    overlap: float = Field(0.5, ge=0, lt=1, description="Share of a window that its neighbour sees too.")
    window_places: Literal["dense", "even"] = Field(
        "dense", description="dense: windows at equal steps, the last one shifted back to the edge; even: spread evenly."
    )
    mirror: str = Field(
        "", description="Axes along which windows are flipped, too, by letters of the preprocessing's axes (kji)."
    )
    painting: Literal["largest first", "in order"] = Field(
        "largest first",
        description="Which of overlapping regions a label map shows: that of the fewest reference labels, or the last.",
    )
    blending: Literal["gaussian", "voxel-gaussian", "constant"] = Field(
        "gaussian",
        description="How much a window's voxels count where several overlap: less towards its faces (as in MONAI, or as in "
        "nnU-Net, centred on a voxel), or the same.",
    )
    size_multiple: int = Field(1, ge=1, description="Sizes that it takes are multiples of this.")
    window_batch: int | None = Field(None, ge=1, description="Windows in one go; none: measured on a CPU, what a GPU holds.")
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
    training: dict[str, Any] | None = Field(None, description="How it was trained; a record, which changes nothing.")

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

    @model_validator(mode="after")
    def _members_have_their_own_weights(self) -> ModelSettings:
        if self.members is not None and self.weights is not None:
            raise ValueError("an ensemble (members) has no weights of its own; leave weights out")
        return self

    @property
    def for_members(self) -> dict[str, Any]:
        """What an ensemble's settings say for all its members, by name."""
        own = {"format", "weights", "members", "description"}
        return {name: getattr(self, name) for name in self.model_fields_set - own}

    @property
    def covering_classes(self) -> tuple[ClassSettings, ...]:
        """The classes with all that is said of what they stand for."""
        covers = self.stands_for or {}
        found = [(x, covers.get(str(x.label), covers.get(x.name))) for x in self.classes or ()]
        return tuple(x if values is None else x.model_copy(update={"stands_for": values}) for x, values in found)

    @field_validator("classes")
    @classmethod
    def _labels_differ(cls, classes: tuple[ClassSettings, ...] | None) -> tuple[ClassSettings, ...] | None:
        labels = [x.label for x in classes or ()]
        if len(set(labels)) != len(labels):
            raise ValueError(f"every class needs a label of its own; they are {labels}")
        return classes

    @field_validator("stands_for")
    @classmethod
    def _of_classes(cls, covers: dict[str, Any] | None, known: ValidationInfo) -> dict[str, Any] | None:
        classes = known.data.get("classes") or ()
        unknown = [x for x in covers or () if x not in {name for y in classes for name in (str(y.label), y.name)}]
        if unknown and classes:
            raise ValueError(
                f"{', '.join(unknown)} is no class; there are {', '.join(f'{x.label} {x.name}' for x in classes)}"
            )
        return covers


def read_settings(
    path: Path, settings: str | Path | None, changes: Mapping[str, Any], said: Mapping[str, Any] | None = None
) -> ModelSettings:
    """The settings of the network file `path`: from the JSON file named, or itself, or beside it, then the caller's changes.

    Args:
        path: the network's file, or another tool's folder.
        settings: the JSON file named.
        changes: the caller's.
        said: what another tool's network says of itself, before all others; None: it is no such network.

    Raises:
        InputError: the JSON file is missing, damaged or no description of a network, or a setting is unknown or wrong.
    """
    source = Path(settings) if settings is not None else settings_beside(path, itself=said is None)
    own = read_object(source, "settings file") if source is not None else {}
    if "classes" in own:  # what classes cover belongs to those that it was said of
        said = {key: x for key, x in (said or {}).items() if key != "stands_for"}
    again = {*own, *(key for key, value in changes.items() if value is not None)}
    kept = {key: x for key, x in (said or {}).items() if key in ModelSettings.model_fields or nearly(key) not in again}
    data = {**kept, **own}
    if source is not None and source == path and not is_ours(data):
        raise recognise_json(data).refusal(path)
    if changes.get("classes") is not None:
        data.pop("stands_for", None)  # it belongs to the classes that are replaced
    data |= {key: value for key, value in changes.items() if value is not None}
    try:
        return ModelSettings.model_validate(data)
    except ValidationError as error:
        named = next(iter(most_precise(error.errors())["loc"]), "")
        place = "Given for the network" if changes.get(str(named)) is not None else "Settings of the network"
        raise InputError(f"{place} {path.name}: {first_problem(error, ModelSettings)}") from None
    except UnicodeEncodeError as error:  # pydantic looks up no such text among the words that it knows
        half = ord(error.object[error.start])
        raise InputError(
            f"Settings of the network {path.name}: U+{half:04X} is half a character; write the character itself."
        ) from None


def settings_beside(path: Path, itself: bool = True) -> Path | None:
    """The JSON file that belongs to a network file: itself, or the one beside it, named like it; None: there is none.

    Other software has files of such names, too (model.json): what does not describe a network in our words is passed over.
    """
    if path.suffix == ".json" and itself:
        return path
    return next((x for x in candidates_beside(path) if x != path and is_file(x) and _may_be_ours(x)), None)


def candidates_beside(path: Path) -> tuple[Path, Path]:
    """The names that the JSON file of a network file may have."""
    return path.with_suffix(".json"), path.with_name(path.name + ".json")


def _may_be_ours(path: Path) -> bool:
    """Whether a JSON file describes a network for this software; also if it is damaged, and was meant to."""
    try:
        text = path.read_text(encoding="utf-8-sig") if path.stat().st_size <= _LARGEST else ""
    except (OSError, ValueError):
        return False
    try:
        return is_ours(json.loads(text))
    except (ValueError, RecursionError):
        return any(f'"{name}"' in text for name in ("channels", "classes", "preprocessing"))


def is_ours(data: Any) -> bool:
    """Whether most names in a JSON object are settings of ours, or nearly so: a misspelt one is told, not passed over."""
    if not isinstance(data, dict):
        return False
    return 2 * len([name for name in data if nearly(name)]) > len(data)


def nearly(name: str) -> str:
    """The setting of ours that a name is, or is nearly; "": there is none."""
    return next(iter(get_close_matches(name, ModelSettings.model_fields, n=1, cutoff=0.8)), "")
