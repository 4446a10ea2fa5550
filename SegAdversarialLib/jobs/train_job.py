"""Training a network, as a job."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from SegAdversarialLib.jobs.sources import CaseSource, WithOutput
from SegAdversarialLib.training.architecture import named_network


class TrainJob(WithOutput):
    """Train a segmentation network; run again, it goes on where its folder says it stood."""

    kind: Literal["train"] = "train"
    network: dict[str, Any] = Field(
        default_factory=lambda: named_network("UNet"),
        description='The architecture: {"name": "SegResNet", "arguments": {"init_filters": 16}}.',
    )
    described: dict[str, Any] = Field(
        default_factory=dict,
        description="What it takes and gives, as in a network's settings file: channels, classes, preprocessing and so on; "
        "what is left out is as in the first case.",
    )
    recipe: dict[str, Any] = Field(
        default_factory=lambda: {"recipe": "standard"},
        description='How it learns: {"recipe": "noise-augmentation", "radius": 0.01}.',
    )
    cases: tuple[CaseSource, ...] = Field(min_length=1, description="What it learns from, with references; read when needed.")
    validation: tuple[CaseSource, ...] = Field((), description="Cases on which it is measured after each epoch.")
    settings: dict[str, Any] = Field(default_factory=dict, description='How it is trained: {"epochs": 100}.')
    keep_cases: bool = Field(
        False,
        description="Keep the cases as they were read in the output folder, where its job.json names them: for files that "
        "will be gone.",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps.")

    @field_validator("network", mode="before")
    @classmethod
    def _by_name(cls, network: Any) -> Any:
        """Also take a name alone, with the arguments that go with it here."""
        return named_network(network) if isinstance(network, str) else network

    def anywhere(self) -> TrainJob:
        """Also the validation cases' files."""
        job: TrainJob = super().anywhere()
        return job.model_copy(update={"validation": tuple(case.anywhere() for case in job.validation)})
