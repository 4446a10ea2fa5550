"""The command that certifies."""

from __future__ import annotations

import argparse

from SegAdversarialLib.cli.console import Console
from SegAdversarialLib.cli.making import case_of, made, model_of, regions_of, run_job
from SegAdversarialLib.cli.pairs import key_values
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.jobs.certify_job import CertifyJob


def certify(options: argparse.Namespace, console: Console) -> None:
    """Certify a network's answer for a case."""
    job = made(
        CertifyJob,
        output=options.output,
        case=case_of(options),
        model=model_of(options),
        sigma=_sigma(options.sigma),
        sigma_units=options.sigma_units,
        n=options.n,
        n0=options.n0,
        alpha=options.alpha,
        tau=options.tau,
        seed=options.seed,
        regions=regions_of(options),
        scene=options.scene,
        overwrite=options.overwrite,
    )
    run_job(job, console)


def _sigma(text: str) -> float | dict[str, float]:
    """The number of "0.05", or those of "T1=20,T2=35"."""
    try:
        if "=" not in text:
            return float(text)
        return {name: float(value) for name, value in key_values(text.split(","), "NAME=SIGMA").items()}
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f'--sigma takes a number, or one for each channel (T1=20,T2=35); it is "{text}".') from None
