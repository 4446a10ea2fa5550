"""A whole study, as a job."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from SegAdversarialLib.formats.settings import Strict
from SegAdversarialLib.formats.source import Sum


class StudyJob(Strict):
    """Run a study, or go on where its folder says it stood; what is in its store is not done again."""

    kind: Literal["study"] = "study"
    study: str = Field(description="The study file (YAML), the folder in which a study works, or papers:NAME.")
    output: str = Field("", description="The folder in which it works; none: beside its file, called like it.")
    scheduler: str | None = Field(None, description="Address of a running Dask scheduler; none: workers of its own.")
    workers: int | None = Field(
        None, ge=1, description="How many workers of its own; none: one for each GPU, or as cores allow."
    )
    retry: bool = Field(False, description="Also try again what has failed too often.")
    trust: bool | tuple[Sum, ...] = Field(
        False,
        description="Programs of which the study says so are trusted, or the SHA-256 of those that are, whatever it says.",
    )

    def anywhere(self) -> StudyJob:
        """The same job with absolute paths."""
        paper = self.study.startswith("papers:")
        update = {"study": self.study if paper else str(Path(self.study).absolute())}
        return self.model_copy(update=update | ({"output": str(Path(self.output).absolute())} if self.output else {}))
