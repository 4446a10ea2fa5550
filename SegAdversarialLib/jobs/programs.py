"""Which programs a job would open: a process that has opened one of them is used for nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from SegAdversarialLib.formats.programs import named_files, named_in_attack, named_source, sums_of_programs


def programs_of(job: Mapping[str, Any]) -> frozenset[str]:
    """The SHA-256 of the programs among the networks that a job names, as they are now; nothing is opened.

    Networks that cannot be described are left out: the job will be refused. A study opens none in the process that is given
    the job: its workers do, in processes of their own (`studies.apart`).

    Args:
        job: its specification as JSON data.
    """
    recipe = job.get("recipe") or {}
    sources = (*named_source(job.get("model")), *named_source(job.get("surrogate")))
    attacked = (found for x in (*(job.get("attacks") or ()), recipe.get("attack")) for found in named_in_attack(x))
    return sums_of_programs((*sources, *named_files(recipe.get("teacher"), recipe.get("network")), *attacked))
