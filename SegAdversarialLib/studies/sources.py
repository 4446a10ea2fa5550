"""What a study file says of cohorts, networks and generators, as validated data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from SegAdversarialLib.arguments import nearest
from SegAdversarialLib.cohorts.cohort import Cohort
from SegAdversarialLib.cohorts.finding import find, located
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.formats.finding import is_name
from SegAdversarialLib.formats.settings import ModelSettings, Strict
from SegAdversarialLib.formats.source import ModelSource
from SegAdversarialLib.training.architecture import named_network

Text = Annotated[str, BeforeValidator(lambda x: str(x) if isinstance(x, (int, float)) and not isinstance(x, bool) else x)]
"""A text; numbers that people write without quotes are texts, too."""


class CohortSource(Strict):
    """Which cases."""

    cohort: Text = Field(description='A cohort\'s name: "brats:FOLDER", "csv:FILE", "phantom:0-31@48".', min_length=1)
    part: Literal["training", "validation"] | None = Field(
        None, description="Only this part of a split by patient; none: all of them."
    )
    validation: float = Field(0.2, gt=0, lt=1, description="Share of the patients in the part validation.")
    seed: int = Field(0, ge=0, description="Of the split.")
    cases: int | tuple[Text, ...] | None = Field(
        None, description="How many cases, from the first, of the part; or their names; none: all of them."
    )
    channels: dict[str, str] = Field(default_factory=dict, description="Other names for channels: {T1w: T1}.")
    label_names: dict[str, str] = Field(default_factory=dict, description="Other names for label values: {3: ignore}.")
    resample: bool = Field(False, description="Put all images of a case onto the first one's grid.")
    replace_nonfinite: float | None = Field(None, description="What takes the place of NaN and infinities; none: refused.")
    prefer: Literal["sform", "qform"] | None = Field(None, description="The position to take of NIfTI files that give two.")

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, data: Any) -> Any:
        return {"cohort": data} if isinstance(data, str) else data

    @field_validator("cases")
    @classmethod
    def _some(cls, cases: Any) -> Any:
        if (isinstance(cases, int) and cases < 1) or cases == ():
            raise ValueError("there must be one case at least; leave it out for all")
        return cases

    def anywhere(self, folder: Path) -> CohortSource:
        """The same with an absolute path; relative ones are meant from `folder`."""
        return self.model_copy(update={"cohort": located(self.cohort, folder)})

    def find(self) -> Cohort:
        """The cases; none is read.

        Raises:
            InputError: there is no such cohort, or no case of a name that was chosen.
        """
        cohort = find(
            self.cohort,
            label_names=self.label_names,
            channels=self.channels,
            resample=self.resample,
            replace_nonfinite=self.replace_nonfinite,
            prefer=self.prefer,
        )
        if self.part is not None:
            cohort = cohort.split(self.validation, self.seed)[self.part == "validation"]
        if isinstance(self.cases, int):
            return cohort[: self.cases]
        if self.cases is not None:
            known = {x.name for x in cohort.entries}
            if unknown := [x for x in self.cases if x not in known]:
                some = sorted(known)[:10]
                raise InputError(f"{self.cohort} has no case {unknown[0]}{nearest(unknown[0], some)}")
            return cohort.without(known - set(self.cases))
        return cohort


class FileNetwork(ModelSource):
    """A network from a file, or a built-in one."""

    path: Text = Field(description="Network file, or the name of a built-in network or of one of the catalogue.", min_length=1)
    attacked: bool = Field(True, description="Whether it is attacked and audited; otherwise others use it.")

    @field_validator("changes")
    @classmethod
    def _known_changes(cls, changes: dict[str, Any]) -> dict[str, Any]:
        unknown = sorted(set(changes) - set(ModelSettings.model_fields))
        if unknown:
            raise ValueError(f"a network has no setting {unknown[0]}{nearest(unknown[0], ModelSettings.model_fields)}")
        return changes

    @property
    def source(self) -> ModelSource:
        """The network without what the study adds."""
        return ModelSource(**self.model_dump(exclude={"attacked"}))

    def anywhere_from(self, folder: Path) -> FileNetwork:
        """The same with absolute paths; relative ones are meant from `folder`."""
        named = is_name(self.path)
        settings = None if self.settings is None else str((folder / self.settings).absolute())
        return self.model_copy(
            update={"path": self.path if named else str((folder / self.path).absolute()), "settings": settings}
        )


class TrainedSource(Strict):
    """How the study trains a network."""

    cohort: CohortSource = Field(description="What it learns from.")
    validation: CohortSource | None = Field(None, description="Cases on which it is measured after each epoch.")
    network: dict[str, Any] = Field(
        default_factory=lambda: named_network("UNet"),
        description="The architecture: {name: SegResNet, arguments: {init_filters: 16}}, or its name alone.",
    )
    described: dict[str, Any] = Field(
        default_factory=dict, description="What it takes and gives: channels, classes, preprocessing and so on."
    )
    recipe: dict[str, Any] = Field(
        default_factory=lambda: {"recipe": "standard"},
        description="How it learns: {recipe: noise-augmentation, radius: 0.01}.",
    )
    settings: dict[str, Any] = Field(default_factory=dict, description="How it is trained: {epochs: 20}.")

    @field_validator("network", mode="before")
    @classmethod
    def _by_name(cls, network: Any) -> Any:
        return named_network(network) if isinstance(network, str) else network

    @field_validator("recipe", mode="before")
    @classmethod
    def _recipe_by_name(cls, recipe: Any) -> Any:
        return {"recipe": recipe} if isinstance(recipe, str) else recipe


class TrainedNetwork(Strict):
    """A network that the study trains."""

    train: TrainedSource
    attacked: bool = Field(True, description="Whether it is attacked and audited; otherwise others use it.")


class EnsembleNetwork(Strict):
    """The mean of other networks of the study."""

    members: tuple[str, ...] = Field(min_length=2, description="Names of other networks of the study.")
    attacked: bool = Field(True, description="Whether it is attacked and audited; otherwise others use it.")


class GeneratorSource(Strict):
    """A generator of adversarial images that the study trains."""

    network: str = Field(description="Name of the network of the study that it is trained against.")
    cohort: CohortSource = Field(description="What it is trained on.")
    settings: dict[str, Any] = Field(default_factory=dict, description="How it is trained: {epochs: 50}.")
    generator: dict[str, Any] = Field(
        default_factory=dict, description="What it is made of, where not as usual: {features: [16, 32], xi: 0.5}."
    )


Network = FileNetwork | TrainedNetwork | EnsembleNetwork


def kind_of_network(data: Any) -> type[FileNetwork] | type[TrainedNetwork] | type[EnsembleNetwork]:
    """Which of the networks some data describe."""
    known = set(data) if isinstance(data, dict) else set()
    return TrainedNetwork if "train" in known else EnsembleNetwork if "members" in known else FileNetwork
