"""One unit of work as data: a specification (JSON) in, events and files out.

The command line, the graphical interface's worker and clusters all run the same jobs. Names are imported when they are first
used, so that the worker can answer before anything heavy is loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from SegAdversarialLib.formats.source import ModelSource
    from SegAdversarialLib.jobs.audit_job import AuditJob
    from SegAdversarialLib.jobs.certify_job import CertifyJob
    from SegAdversarialLib.jobs.opening import Emit
    from SegAdversarialLib.jobs.running import AttackOutcome, Observe, run
    from SegAdversarialLib.jobs.sources import CaseSource, PhantomSource
    from SegAdversarialLib.jobs.specification import (
        AttackJob,
        EvaluateJob,
        Job,
        LearnUniversalJob,
        PhantomJob,
        SegmentJob,
        TrainGeneratorJob,
        make_job,
        read_job,
    )
    from SegAdversarialLib.jobs.study_job import StudyJob

__all__ = [
    "AttackJob",
    "AttackOutcome",
    "AuditJob",
    "CaseSource",
    "CertifyJob",
    "Emit",
    "EvaluateJob",
    "LearnUniversalJob",
    "Job",
    "ModelSource",
    "Observe",
    "PhantomJob",
    "PhantomSource",
    "SegmentJob",
    "StudyJob",
    "TrainGeneratorJob",
    "make_job",
    "read_job",
    "run",
]

_HOME_OF = {
    **dict.fromkeys(("AttackOutcome", "Observe", "run"), "running"),
    **dict.fromkeys(("CaseSource", "ModelSource", "PhantomSource"), "sources"),
    "CertifyJob": "certify_job",
    "AuditJob": "audit_job",
    "StudyJob": "study_job",
    "Emit": "opening",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.{_HOME_OF.get(name, 'specification')}"), name)
    raise AttributeError(f"SegAdversarialLib.jobs has no {name}; it has {', '.join(__all__)}.")
