"""Auditing a network, as a job."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from SegAdversarialLib.formats.source import ModelSource
from SegAdversarialLib.jobs.sources import CaseSource, Overwriting, WithOutput


class AuditJob(Overwriting, WithOutput):
    """Find out whether a network's robustness is real."""

    kind: Literal["audit"] = "audit"
    model: ModelSource = ModelSource()
    cases: tuple[CaseSource, ...] = Field(min_length=1, description="What it is attacked on; each is read when it is needed.")
    surrogate: ModelSource | None = Field(None, description="A similar network, from which attacks are transferred.")
    settings: dict[str, Any] = Field(default_factory=dict, description='How it is audited: {"effort": "quick"}.')

    @field_validator("settings")
    @classmethod
    def _settings_only(cls, settings: dict[str, Any]) -> dict[str, Any]:
        other = {"model", "cases", "surrogate", "progress", "cancel"} & set(settings)
        if other:
            raise ValueError(f"there is no setting {sorted(other)[0]}")
        return settings

    def anywhere(self) -> AuditJob:
        """Also the surrogate's file."""
        job: AuditJob = super().anywhere()
        return job if job.surrogate is None else job.model_copy(update={"surrogate": job.surrogate.anywhere()})
