"""Running the job of certifying."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from SegAdversarialLib.defenses.certificate import COLUMNS, Certificate
from SegAdversarialLib.defenses.certifying import certify, planned
from SegAdversarialLib.errors import CancelCheck, check_cancel
from SegAdversarialLib.evaluation.tables import write_table
from SegAdversarialLib.jobs import results
from SegAdversarialLib.jobs.certify_job import CertifyJob
from SegAdversarialLib.jobs.identity import fingerprints
from SegAdversarialLib.jobs.opening import Emit, Networks, Unopened, announce, files_read, part_of
from SegAdversarialLib.jobs.results_folder import ResultsFolder, write_job
from SegAdversarialLib.volumes.json_data import plain

FOLDER = "certificate"
"""The folder of what a certify job finds."""


def run_certify(
    job: CertifyJob,
    emit: Emit,
    cancel: CancelCheck | None,
    networks: Networks,
    observe: Callable[[Certificate], None] | None = None,
) -> list[dict[str, Any]]:
    """Run a certify job: the network's own answer and the certificate with its table; see `running.run`."""
    place = ResultsFolder(job)
    unopened = Unopened.of(job.case, job.model, emit, networks)
    how: dict[str, Any] = {
        **{"sigma": job.sigma, "n": job.n, "alpha": job.alpha, "tau": job.tau, "n0": job.n0},
        **{"sigma_units": job.sigma_units, "regions": job.regions, "seed": job.seed},
    }
    if unopened.known is not None:
        planned(unopened.case, unopened.known.channels, unopened.known.output_head(), **how)
    place.check_inputs([FOLDER], files_read([job.case], job.model))
    case, model = unopened.opened()
    planned(case, model.channels, model.head, **how)
    about = {"fingerprints": fingerprints(case, job.model, model, job.regions)}
    place.check_same(about["fingerprints"], case.name)
    announce(place, [FOLDER], emit)
    share = 2 / (2 + job.n0 + job.n)
    clean = model.predict(case, part_of(emit, 0.0, share), cancel)
    found = certify(
        model,
        case,
        **how,
        clean=clean,
        progress=part_of(emit, share, 1.0),
        cancel=cancel,
    )
    check_cancel(cancel)
    with place.change([FOLDER], everything=True) as folder:
        results.write_clean(folder, clean.labels, case, job.ending)
        write_job(folder, job, model)
        found.save(folder / FOLDER, job.ending, about)
        write_table(found.rows, folder / results.TABLE_FILE, COLUMNS)
    emit({"event": "log", "level": "info", "message": found.sentence()})
    written = str(Path(place.path / FOLDER))
    emit({"event": "result", "name": FOLDER, "folder": written, "rows": plain(found.rows)})
    if observe is not None:
        observe(found)
    return found.rows
