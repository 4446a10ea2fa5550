"""Running jobs: events on the way, files at the end of each finished part."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib.attacks import Attack, AttackResult
from SegAdversarialLib.attacks.universal import UniversalPerturbation
from SegAdversarialLib.errors import CancelCheck, InputError, check_cancel
from SegAdversarialLib.evaluation.evaluation import Evaluation, compare
from SegAdversarialLib.evaluation.files import write_evaluation
from SegAdversarialLib.evaluation.measuring import evaluate, evaluate_pair, notes_on_prediction
from SegAdversarialLib.evaluation.structures import check_regions
from SegAdversarialLib.evaluation.tables import write_table
from SegAdversarialLib.formats.source import Describer, Opener, describe_source, open_source
from SegAdversarialLib.jobs import planning, results
from SegAdversarialLib.jobs.attack_writer import AttackWriter
from SegAdversarialLib.jobs.audit_job import AuditJob
from SegAdversarialLib.jobs.audit_running import run_audit
from SegAdversarialLib.jobs.certify_job import CertifyJob
from SegAdversarialLib.jobs.certifying import run_certify
from SegAdversarialLib.jobs.forecast import Forecast, share_of_clean
from SegAdversarialLib.jobs.identity import fingerprints
from SegAdversarialLib.jobs.opening import (
    CasesOnDemand,
    Emit,
    Networks,
    Unopened,
    announce,
    files_read,
    part_of,
    progress_event,
)
from SegAdversarialLib.jobs.outlook import Outlook
from SegAdversarialLib.jobs.results_folder import ResultsFolder, write_job
from SegAdversarialLib.jobs.sources import files_of
from SegAdversarialLib.jobs.specification import (
    AnyJob,
    AttackJob,
    EvaluateJob,
    LearnUniversalJob,
    PhantomJob,
    SegmentJob,
    TrainGeneratorJob,
)
from SegAdversarialLib.jobs.study_job import StudyJob
from SegAdversarialLib.jobs.study_running import run_study_job
from SegAdversarialLib.jobs.train_job import TrainJob
from SegAdversarialLib.jobs.train_running import run_train
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import check_writable
from SegAdversarialLib.volumes.json_data import plain
from SegAdversarialLib.volumes.reading import read_channel

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import Prediction, SegmentationModel

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class AttackOutcome:
    """One attack of a job: its name, what it found, what that did, the network's outputs, and the folder it was written to."""

    name: str
    result: AttackResult
    evaluation: Evaluation
    head: OutputHead
    folder: Path


Observe = Callable[[Any], None]
"""Called with each finished attack (an `AttackOutcome`), or a certify job's `Certificate`, while its volumes are in memory."""


def run(
    job: AnyJob,
    emit: Emit | None = None,
    cancel: CancelCheck | None = None,
    observe: Observe | None = None,
    open_model: Opener | None = None,
    clock: Callable[[], float] = time.perf_counter,
    describe: Describer | None = None,
) -> list[dict[str, Any]]:
    """Run a job.

    Args:
        job: what is to be done.
        emit: gets the events: progress (fraction, message), log (level, message), trace (a row), result.
        cancel: asked between units of work; True ends the job with `Cancelled`, and what was finished stays on disk.
        observe: gets each finished attack.
        open_model: gives the job's network; `open_source` unless given.
        clock: gives the seconds by which the time left is forecast.
        describe: tells what is known of that network before it is opened; `describe_source`, or nothing where `open_model` is
            given.

    Returns:
        The rows of the job's table.

    Raises:
        InputError: something that the job names is wrong; nothing half-written is left.
        Cancelled: `cancel` said so.
    """
    emit = emit or (lambda event: None)
    describe = describe or (describe_source if open_model is None else lambda source: None)
    networks = Networks(open_model := open_model or open_source, describe)
    if isinstance(job, PhantomJob):
        return _run_phantom(job, emit, cancel)
    if isinstance(job, SegmentJob):
        return _run_segment(job, emit, cancel, networks)
    if isinstance(job, EvaluateJob):
        return _run_evaluate(job, emit, cancel, networks)
    if isinstance(job, LearnUniversalJob):
        return _run_learn_universal(job, emit, cancel, open_model)
    if isinstance(job, TrainGeneratorJob):
        return _run_train_generator(job, emit, cancel, open_model)
    if isinstance(job, TrainJob):
        return run_train(job, emit, cancel)
    if isinstance(job, StudyJob):
        return run_study_job(job, emit, cancel)
    if isinstance(job, CertifyJob):
        return run_certify(job, emit, cancel, networks, observe)
    if isinstance(job, AuditJob):
        return run_audit(job, emit, cancel, open_model)
    return _run_attack(job, emit, cancel, observe, networks, clock)


def _run_phantom(job: PhantomJob, emit: Emit, cancel: CancelCheck | None) -> list[dict[str, Any]]:
    from SegAdversarialLib import phantom

    rows = []
    for done, seed in enumerate(job.seeds):
        check_cancel(cancel)
        emit(progress_event(done / len(job.seeds), f"phantom {seed}"))
        case = phantom.subject(seed=seed, shape=job.shape)
        check_writable(job.output)
        folder = Path(job.output) / case.name
        written = case.write(folder, job.ending)
        rows.append({"subject": case.name, **{key: str(path) for key, path in written.items()}})
        emit({"event": "result", "name": case.name, "folder": str(folder)})
    return rows


def _run_segment(job: SegmentJob, emit: Emit, cancel: CancelCheck | None, networks: Networks) -> list[dict[str, Any]]:
    place = ResultsFolder(job)
    unopened = Unopened.of(job.case, job.model, emit, networks)
    place.check_inputs([], files_read([job.case], job.model))
    place.check_same_inputs()
    case, model = unopened.opened()
    announce(place, [], emit)
    prediction = model.predict(case, part_of(emit, 0.0, 0.95), cancel)
    _warn(notes_on_prediction(prediction, model.head, case.label))
    rows = results.clean_rows(prediction, model, case)
    with place.change(everything=True) as folder:
        path = place.path / results.write_clean(folder, prediction.labels, case, job.ending).name
        write_job(folder, job, model)
        write_table(rows, folder / results.TABLE_FILE)
    emit({"event": "result", "name": "segment", "file": str(path), "rows": plain(rows)})
    return rows


def _run_evaluate(job: EvaluateJob, emit: Emit, cancel: CancelCheck | None, networks: Networks) -> list[dict[str, Any]]:
    place = ResultsFolder(job)
    unopened = Unopened.of(job.case, job.model, emit, networks)
    unopened.check_regions(job.regions)
    image = _changed(unopened.case, job.adversarial)
    place.check_inputs([results.EVALUATION], [*files_read([job.case], job.model), *map(Path, job.adversarial.values())])
    case, model = unopened.opened()
    adversarial = case.with_image(image)
    check_regions(model.head, job.regions)
    about = {"fingerprints": fingerprints(case, job.model, model, job.regions)}
    place.check_same(about["fingerprints"], case.name)
    announce(place, [results.EVALUATION], emit)
    clean = model.predict(case, part_of(emit, 0.0, 0.45), cancel)
    attacked = model.predict(adversarial, part_of(emit, 0.45, 0.9), cancel)
    emit(progress_event(0.9, "measuring"))
    evaluation = evaluate_pair(case, adversarial, model, job.regions, clean, attacked)
    check_cancel(cancel)
    rows = compare({results.EVALUATION: evaluation})
    with place.change([results.EVALUATION], everything=True) as folder:
        results.write_clean(folder, clean.labels, case, job.ending)
        write_job(folder, job, model)
        write_evaluation(folder / results.EVALUATION, adversarial, evaluation, model, job.ending, about)
        write_table(rows, folder / results.TABLE_FILE)
    written = str(place.path / results.EVALUATION)
    emit({"event": "result", "name": results.EVALUATION, "folder": written, "row": plain(rows[-1])})
    return rows


def _run_learn_universal(
    job: LearnUniversalJob, emit: Emit, cancel: CancelCheck | None, open_model: Opener
) -> list[dict[str, Any]]:
    place = ResultsFolder(job, [results.PERTURBATION_FILE])
    place.check_inputs([], files_read(job.cases, job.model))
    place.check_same_inputs()
    announce(place, [], emit)
    emit(progress_event(0.0, "reading"))
    model = open_model(job.model)
    cases = CasesOnDemand(job.cases, model.head)
    learned = UniversalPerturbation.learn(model, cases, progress=part_of(emit, 0.0, 1.0), cancel=cancel, **job.settings)
    rows: list[dict[str, Any]] = learned.pattern().learned["by_epoch"]
    with place.change(everything=True) as folder:
        learned.save(folder / results.PERTURBATION_FILE)
        write_job(folder, job, model)
        write_table(rows, folder / results.TABLE_FILE)
    emit({"event": "result", "name": job.kind, "file": str(place.path / results.PERTURBATION_FILE), "rows": plain(rows)})
    return rows


def _run_train_generator(
    job: TrainGeneratorJob, emit: Emit, cancel: CancelCheck | None, open_model: Opener
) -> list[dict[str, Any]]:
    from SegAdversarialLib.networks.generator import Generator
    from SegAdversarialLib.training.generator import GENERATOR_FILE, train_generator

    folder = Path(job.output)
    path = folder / GENERATOR_FILE
    start = Path(job.start) if job.start else None
    place = ResultsFolder(job, [GENERATOR_FILE])
    place.check_inputs([], files_read(job.cases, job.model))
    place.check_same_inputs()
    if start is not None and start.resolve() == path.resolve():
        raise InputError(f"The generator {start} would be overwritten by the one trained from it; give another folder.")
    emit(progress_event(0.0, "reading"))
    model, earlier = open_model(job.model), Generator.read(start) if start else None
    trained = train_generator(
        model,
        CasesOnDemand(job.cases, model.head),
        job.settings,
        generator=job.generator,
        start=earlier,
        folder=folder,
        on_begin=lambda: write_job(folder, job),
        on_epoch=lambda row: emit({"event": "trace", "name": job.kind, **plain(row)}),
        progress=part_of(emit, 0.0, 1.0),
        cancel=cancel,
    )
    rows: list[dict[str, Any]] = trained.learned["by_epoch"]
    write_table(rows, folder / results.TABLE_FILE)
    emit({"event": "result", "name": job.kind, "file": str(path), "rows": plain(rows)})
    return rows


def _changed(case: Case, files: Mapping[str, str]) -> np.ndarray:
    """The case's image (C, K, J, I) with some channels from other files."""
    image = case.image.copy()
    for channel, path in files.items():
        image[case.channel_index(channel)] = read_channel(path, case.grid)
    return image


def _run_attack(
    job: AttackJob,
    emit: Emit,
    cancel: CancelCheck | None,
    observe: Observe | None,
    networks: Networks,
    clock: Callable[[], float],
) -> list[dict[str, Any]]:
    asked = planning.planned(job)
    place = ResultsFolder(job)
    case, model = _opened(job, asked, place, emit, networks)
    sourced = [planning.with_source(plan, job.model.device, networks.open) for plan in asked]
    plans = planning.named(planning.varied(sourced, model.channels if job.each_channel else ()), place.earlier)
    for plan in plans.values():
        plan.attack.check(model, case)
    check_regions(model.head, job.regions)
    place.check_inputs(
        list(plans),
        [*files_read([job.case], job.model), *(x for plan in plans.values() for x in files_of(plan.asked).values())],
    )
    about = {"fingerprints": fingerprints(case, job.model, model, job.regions)}
    place.check_same(about["fingerprints"], case.name)
    announce(place, list(plans), emit)
    attacks = {name: plan.attack for name, plan in plans.items()}
    first, started = share_of_clean({name: x.likely_cost for name, x in attacks.items()}), clock()
    clean = model.predict(case, part_of(emit, 0.0, first), cancel)
    told = results.first_dice(clean, model.head, case)
    if told:
        emit(progress_event(first, f"before any attack: {told}"))
    expected = Forecast.measured(attacks, model, case, clean, clock() - started, job.regions, cancel, clock)
    if expected.is_worth_telling():
        for message in ([f"Before any attack: {told}."] if told else []) + [expected.sentence()]:
            emit({"event": "log", "level": "info", "message": message})
    outlook = Outlook(expected, lambda x, text, left: emit(progress_event(first + (1 - first) * x, text, left)), clock)
    said = _warn(notes_on_prediction(clean, model.head, case.label))
    writer = AttackWriter(job, case, clean, place, plans)
    writer.begin()
    for name, plan in plans.items():
        result, evaluation = _one_attack(plan.attack, model, case, clean, job, outlook, cancel)
        _warn([x for x in evaluation.notes if x not in said], f"{name}: ")
        writer.add(name, result, evaluation, model, {**about, "asked": plan.asked})
        outlook.end()
        for row in result.trace:
            emit({"event": "trace", "name": name, **plain(row)})
        emit({"event": "result", "name": name, "folder": str(place.path / name), "row": plain(writer.row(name))})
        if observe is not None:
            observe(AttackOutcome(name, result, evaluation, model.head, place.path / name))
    return writer.rows


def _opened(
    job: AttackJob, asked: Sequence[planning.Planned], place: ResultsFolder, emit: Emit, networks: Networks
) -> tuple[Case, SegmentationModel]:
    """An attack job's case and network, once all is known to fit that can be known before."""
    unopened = Unopened.of(job.case, job.model, emit, networks)
    for plan in asked:
        unopened.check_attack(plan.attack)
    unopened.check_regions(job.regions)
    place.check_inputs([], files_read([job.case], job.model))
    return unopened.opened()


def _one_attack(
    attack: Attack,
    model: SegmentationModel,
    case: Case,
    clean: Prediction,
    job: AttackJob,
    outlook: Outlook,
    cancel: CancelCheck | None,
) -> tuple[AttackResult, Evaluation]:
    """Attack and measure."""
    result = attack(model, case, progress=outlook.within, cancel=cancel)
    outlook.end()
    measuring = outlook.progress(f"{attack.title}: measuring")
    attacked = model.predict(result.adversarial, measuring, cancel)
    outlook.end()
    evaluation = evaluate(result, model, job.regions, clean, attacked, warn=False, progress=measuring)
    outlook.end()
    check_cancel(cancel)
    return result, evaluation


def _warn(notes: Sequence[str], of: str = "") -> Sequence[str]:
    """Log notes as warnings, and give them back."""
    for note in notes:
        _log.warning("%s%s", of, note)
    return notes
