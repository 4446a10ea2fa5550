"""Running an audit as a job."""

from __future__ import annotations

from typing import Any

from SegAdversarialLib.defenses.audit import AuditSettings, audit, forecast
from SegAdversarialLib.defenses.audit.report import ATTACKS_FILE, CHECKS_FILE, EPSILONS_FILE, PICTURE_FILE
from SegAdversarialLib.errors import CancelCheck
from SegAdversarialLib.formats.source import Opener
from SegAdversarialLib.jobs.audit_job import AuditJob
from SegAdversarialLib.jobs.opening import CasesOnDemand, Emit, announce, files_read, part_of, progress_event
from SegAdversarialLib.jobs.results_folder import ResultsFolder, write_job
from SegAdversarialLib.volumes.files import RESULT_MARKER
from SegAdversarialLib.volumes.json_data import plain


def run_audit(job: AuditJob, emit: Emit, cancel: CancelCheck | None, open_model: Opener) -> list[dict[str, Any]]:
    """Audit, write all that was found, and give the checks."""
    settings = AuditSettings(**job.settings)
    place = ResultsFolder(job, [RESULT_MARKER, CHECKS_FILE, EPSILONS_FILE, ATTACKS_FILE, PICTURE_FILE])
    surrogates = [] if job.surrogate is None else files_read([], job.surrogate)
    place.check_inputs([], [*files_read(job.cases, job.model), *surrogates])
    place.check_same_inputs()
    announce(place, [], emit)
    emit(progress_event(0.0, "reading"))
    model = open_model(job.model)
    surrogate = None if job.surrogate is None else open_model(job.surrogate)
    cases, given = CasesOnDemand(job.cases, model.head), settings.model_dump(exclude_unset=True)
    expected = forecast(model, cases, surrogate=surrogate, **given)
    emit({"event": "log", "level": "info", "message": str(expected)})
    found = audit(model, cases, surrogate=surrogate, progress=part_of(emit, 0.0, 1.0), cancel=cancel, **given)
    with place.change(everything=True) as folder:
        found.write_into(folder)
        write_job(folder, job, model)
    for line in found.sentences():
        emit({"event": "log", "level": "info", "message": line})
    emit(
        {
            "event": "result",
            "name": job.kind,
            "folder": str(place.path),
            "rows": plain(found.rows),
            "epsilons": plain(found.epsilons),
        }
    )
    return found.epsilons
