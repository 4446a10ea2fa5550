"""One unit of work as data: a specification (JSON) in, events and files out.

The command line, the graphical interface's worker and clusters all run the same jobs.
"""

from __future__ import annotations

from SegAdversarialLib.jobs.running import AttackOutcome, Emit, Observe, run
from SegAdversarialLib.jobs.specification import (
    AttackJob,
    CaseSource,
    Job,
    ModelSource,
    PhantomJob,
    PhantomSource,
    SegmentJob,
    read_job,
)

__all__ = [
    "AttackJob",
    "AttackOutcome",
    "CaseSource",
    "Emit",
    "Job",
    "ModelSource",
    "Observe",
    "PhantomJob",
    "PhantomSource",
    "SegmentJob",
    "read_job",
    "run",
]
