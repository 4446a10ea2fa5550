"""One unit of work as data: a specification (JSON) in, events and files out.

The command line, the graphical interface's worker and clusters all run the same jobs. Names are imported when they are first
used, so that the worker can answer before anything heavy is loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from SegAdversarialLib.jobs.running import AttackOutcome, Emit, Observe, run
    from SegAdversarialLib.jobs.specification import (
        AttackJob,
        CaseSource,
        EvaluateJob,
        Job,
        LearnUniversalJob,
        ModelSource,
        PhantomJob,
        PhantomSource,
        SegmentJob,
        TrainGeneratorJob,
        make_job,
        read_job,
    )

__all__ = [
    "AttackJob",
    "AttackOutcome",
    "CaseSource",
    "Emit",
    "EvaluateJob",
    "LearnUniversalJob",
    "Job",
    "ModelSource",
    "Observe",
    "PhantomJob",
    "PhantomSource",
    "SegmentJob",
    "TrainGeneratorJob",
    "make_job",
    "read_job",
    "run",
]

_RUNNING = {"AttackOutcome", "Emit", "Observe", "run"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        home = "running" if name in _RUNNING else "specification"
        return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"SegAdversarialLib.jobs has no {name}; it has {', '.join(__all__)}.")
