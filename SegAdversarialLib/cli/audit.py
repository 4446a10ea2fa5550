"""The command that audits."""

from __future__ import annotations

import argparse

from SegAdversarialLib.cli.console import Console
from SegAdversarialLib.cli.making import cases_of, made, model_of, run_job
from SegAdversarialLib.cli.pairs import settings_of
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.jobs.audit_job import AuditJob


def audit(options: argparse.Namespace, console: Console) -> None:
    """Find out whether a network's robustness is real."""
    settings = settings_of(options.set, "SETTING=VALUE")
    given = {"effort": options.effort, "epsilons": options.epsilon}
    said = {key: value for key, value in given.items() if value is not None}
    if twice := sorted(set(settings) & set(said)):
        raise InputError(f"{twice[0]} is given twice, as an option and as a setting; give it once.")
    surrogate = None
    if options.surrogate is not None:
        surrogate = {"path": options.surrogate, "trust": options.trust, "device": options.device}
    job = made(
        AuditJob,
        output=options.output,
        cases=cases_of(options),
        model=model_of(options),
        surrogate=surrogate,
        settings={**said, **settings},
        overwrite=options.overwrite,
    )
    run_job(job, console)
