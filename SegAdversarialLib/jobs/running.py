"""Running jobs: events on the way, files at the end of each finished part."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SegAdversarialLib import formats
from SegAdversarialLib.attacks import Attack, AttackResult, attack_class, make_attack
from SegAdversarialLib.attacks.transfer import Transfer
from SegAdversarialLib.attacks.universal import UniversalPerturbation
from SegAdversarialLib.errors import CancelCheck, InputError, ProgressCallback, check_cancel
from SegAdversarialLib.evaluation.evaluation import Evaluation, compare
from SegAdversarialLib.evaluation.measuring import evaluate, evaluate_pair
from SegAdversarialLib.evaluation.structures import check_regions
from SegAdversarialLib.evaluation.tables import write_table
from SegAdversarialLib.formats import ModelSettings
from SegAdversarialLib.jobs import results
from SegAdversarialLib.jobs.json_data import plain
from SegAdversarialLib.jobs.specification import (
    AnyJob,
    AttackJob,
    CaseSource,
    EvaluateJob,
    LearnUniversalJob,
    ModelSource,
    PhantomJob,
    SegmentJob,
    TrainGeneratorJob,
)
from SegAdversarialLib.structures.output_head import OutputHead
from SegAdversarialLib.volumes.case import Case
from SegAdversarialLib.volumes.files import check_writable, file_name
from SegAdversarialLib.volumes.reading import read_channel

if TYPE_CHECKING:
    from SegAdversarialLib.model.segmentation_model import Prediction, SegmentationModel

Emit = Callable[[dict[str, Any]], None]
"""Called with each event: plain JSON data with its kind under "event"."""


@dataclass(frozen=True, eq=False)
class AttackOutcome:
    """One attack of a job: its name, what it found, what that did, the network's outputs, and the folder it was written to."""

    name: str
    result: AttackResult
    evaluation: Evaluation
    head: OutputHead
    folder: Path


Observe = Callable[[AttackOutcome], None]
"""Called with each finished attack while its volumes are still in memory."""

Opener = Callable[[ModelSource], "SegmentationModel"]
"""Gives the network that a source names; `open_source`, unless networks are kept from job to job."""

_CLEAN_SHARE = 0.05
"""The part of an attack job's progress bar that segmenting the unchanged case takes."""


def run(
    job: AnyJob,
    emit: Emit | None = None,
    cancel: CancelCheck | None = None,
    observe: Observe | None = None,
    open_model: Opener | None = None,
) -> list[dict[str, Any]]:
    """Run a job.

    Args:
        job: what is to be done.
        emit: gets the events: progress (fraction, message), log (level, message), trace (a row), result.
        cancel: asked between units of work; True ends the job with `Cancelled`, and what was finished stays on disk.
        observe: gets each finished attack.
        open_model: gives the job's network; `open_source` unless given.

    Returns:
        The rows of the job's table.

    Raises:
        InputError: something that the job names is wrong; nothing half-written is left.
        Cancelled: `cancel` said so.
    """
    emit, open_model = emit or (lambda event: None), open_model or open_source
    if isinstance(job, PhantomJob):
        return _run_phantom(job, emit, cancel)
    if isinstance(job, SegmentJob):
        return _run_segment(job, emit, cancel, open_model)
    if isinstance(job, EvaluateJob):
        return _run_evaluate(job, emit, cancel, open_model)
    if isinstance(job, LearnUniversalJob):
        return _run_learn_universal(job, emit, cancel, open_model)
    if isinstance(job, TrainGeneratorJob):
        return _run_train_generator(job, emit, cancel, open_model)
    return _run_attack(job, emit, cancel, observe, open_model)


def open_case(source: CaseSource) -> Case:
    """Read, or make, the case that a job works on."""
    if source.phantom is not None:
        from SegAdversarialLib import phantom

        return phantom.subject(seed=source.phantom.seed, shape=source.phantom.shape)
    return Case.read(
        dict(source.channels),
        source.label,
        name=source.name,
        resample=source.resample,
        replace_nonfinite=source.replace_nonfinite,
    )


def open_source(source: ModelSource) -> SegmentationModel:
    """Open the network that a job works with.

    Raises:
        InputError: the source changes something that no network has, or `open_model` does.
    """
    check_source(source)
    return formats.open_model(
        source.path, trust=source.trust, device=source.device, settings=source.settings, **source.changes
    )


def check_source(source: ModelSource) -> None:
    """Refuse a source that changes something that no network has.

    Raises:
        InputError: it does.
    """
    unknown = sorted(set(source.changes) - set(ModelSettings.model_fields))
    if unknown:
        raise InputError(f"A network has no setting {unknown[0]}; it has {', '.join(ModelSettings.model_fields)}.")


def _run_phantom(job: PhantomJob, emit: Emit, cancel: CancelCheck | None) -> list[dict[str, Any]]:
    from SegAdversarialLib import phantom

    rows = []
    for done, seed in enumerate(job.seeds):
        check_cancel(cancel)
        emit(_progress(done / len(job.seeds), f"phantom {seed}"))
        case = phantom.subject(seed=seed, shape=job.shape)
        check_writable(job.output)
        folder = Path(job.output) / case.name
        written = case.write(folder, job.ending)
        rows.append({"subject": case.name, **{key: str(path) for key, path in written.items()}})
        emit({"event": "result", "name": case.name, "folder": str(folder)})
    return rows


def _run_segment(job: SegmentJob, emit: Emit, cancel: CancelCheck | None, open_model: Opener) -> list[dict[str, Any]]:
    folder = Path(job.output)
    case, model = _opened(job, emit, open_model)
    results.prepare_output(folder, [], job.case.files)
    prediction = model.predict(case, _part_of(emit, 0.1, 0.95), cancel)
    path = results.write_clean(folder, prediction.labels, case, job.ending)
    results.write_json(folder / results.JOB_FILE, job.anywhere().model_dump(mode="json"))
    rows = _clean_rows(prediction, model, case)
    write_table(rows, folder / results.TABLE_FILE)
    emit({"event": "result", "name": "segment", "file": str(path), "rows": plain(rows)})
    return rows


def _opened(job: SegmentJob | AttackJob | EvaluateJob, emit: Emit, open_model: Opener) -> tuple[Case, SegmentationModel]:
    """The case and the network of a job, which fit each other."""
    emit(_progress(0.0, "reading"))
    case, model = open_case(job.case), open_model(job.model)
    model.channel_positions(case)
    if case.label is not None:
        model.head.check_label(case.label)
    return case, model


def _clean_rows(prediction: Prediction, model: SegmentationModel, case: Case) -> list[dict[str, Any]]:
    """Volume, and Dice where there is a reference, of each structure that a network sees in a case."""
    from SegAdversarialLib.metrics import dice, volume_ml

    head = model.head
    rows: list[dict[str, Any]] = []
    for n in head.foreground:
        row: dict[str, Any] = {"structure": head.names[n], "Volume (ml)": volume_ml(prediction.masks[n], case.spacing)}
        if case.label is not None:
            row["Dice"] = dice(prediction.masks[n], np.isin(case.label, head.regions[n]))
        rows.append(row)
    return rows


def _run_evaluate(job: EvaluateJob, emit: Emit, cancel: CancelCheck | None, open_model: Opener) -> list[dict[str, Any]]:
    folder = Path(job.output)
    case, model = _opened(job, emit, open_model)
    adversarial = _changed(case, job.adversarial)
    check_regions(model.head, job.regions)
    results.prepare_output(folder, [results.EVALUATION], [*job.case.files, *map(Path, job.adversarial.values())])
    clean = model.predict(case, _part_of(emit, 0.1, 0.5), cancel)
    attacked = model.predict(adversarial, _part_of(emit, 0.5, 0.9), cancel)
    emit(_progress(0.9, "measuring"))
    evaluation = evaluate_pair(case, adversarial, model, job.regions, clean, attacked)
    check_cancel(cancel)
    results.write_clean(folder, clean.labels, case, job.ending)
    results.write_json(folder / results.JOB_FILE, job.anywhere().model_dump(mode="json"))
    place = folder / results.EVALUATION
    results.write_evaluation(place, adversarial, evaluation, model, job.ending)
    rows = compare({results.EVALUATION: evaluation})
    write_table(rows, folder / results.TABLE_FILE)
    emit({"event": "result", "name": results.EVALUATION, "folder": str(place), "row": plain(rows[-1])})
    return rows


class _CasesOnDemand(Sequence[Case]):
    """Cases that are read when they are asked for, so that a cohort need not lie in memory."""

    def __init__(self, sources: Sequence[CaseSource]) -> None:
        self._sources = sources

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, number: Any) -> Any:
        return open_case(self._sources[number])


def _run_learn_universal(
    job: LearnUniversalJob, emit: Emit, cancel: CancelCheck | None, open_model: Opener
) -> list[dict[str, Any]]:
    folder = Path(job.output)
    results.prepare_output(folder, [], [path for case in job.cases for path in case.files])
    path = folder / results.PERTURBATION_FILE
    if path.exists() and not (folder / results.JOB_FILE).is_file():
        raise InputError(f"{path} is not from this software and would be overwritten; give another folder.")
    emit(_progress(0.0, "reading"))
    learned = UniversalPerturbation.learn(
        open_model(job.model), _CasesOnDemand(job.cases), progress=_part_of(emit, 0.0, 1.0), cancel=cancel, **job.settings
    )
    learned.save(path)
    results.write_json(folder / results.JOB_FILE, job.anywhere().model_dump(mode="json"))
    rows: list[dict[str, Any]] = learned.pattern().learned["by_epoch"]
    write_table(rows, folder / results.TABLE_FILE)
    emit({"event": "result", "name": job.kind, "file": str(path), "rows": plain(rows)})
    return rows


def _run_train_generator(
    job: TrainGeneratorJob, emit: Emit, cancel: CancelCheck | None, open_model: Opener
) -> list[dict[str, Any]]:
    from SegAdversarialLib.networks.generator import Generator
    from SegAdversarialLib.training.generator import GENERATOR_FILE, train_generator

    folder = Path(job.output)
    path = folder / GENERATOR_FILE
    start = Path(job.start) if job.start else None
    if path.exists() and not (folder / results.JOB_FILE).is_file():
        raise InputError(f"{path} is not from this software and would be overwritten; give another folder.")
    results.prepare_output(folder, [], [*(x for case in job.cases for x in case.files), *([start] if start else [])])
    if start is not None and start.resolve() == path.resolve():
        raise InputError(f"The generator {start} would be overwritten by the one trained from it; give another folder.")
    emit(_progress(0.0, "reading"))
    model, earlier = open_model(job.model), Generator.read(start) if start else None
    results.write_json(folder / results.JOB_FILE, job.anywhere().model_dump(mode="json"))
    trained = train_generator(
        model,
        _CasesOnDemand(job.cases),
        job.settings,
        generator=job.generator,
        start=earlier,
        folder=folder,
        progress=_part_of(emit, 0.0, 1.0),
        cancel=cancel,
    )
    rows: list[dict[str, Any]] = trained.learned["by_epoch"]
    write_table(rows, folder / results.TABLE_FILE)
    emit({"event": "result", "name": job.kind, "file": str(path), "rows": plain(rows)})
    return rows


def _changed(case: Case, files: Mapping[str, str]) -> Case:
    """The case with some channels from other files."""
    image = case.image.copy()
    for channel, path in files.items():
        image[case.channel_index(channel)] = read_channel(path, case.grid)
    return case.with_image(image)


def _run_attack(
    job: AttackJob, emit: Emit, cancel: CancelCheck | None, observe: Observe | None, open_model: Opener
) -> list[dict[str, Any]]:
    folder = Path(job.output)
    configured = [_configured(data) for data in job.attacks]
    case, model = _opened(job, emit, open_model)
    configured = [_with_source(attack, job.model.device, open_model) for attack in configured]
    runs = dict(_named(_varied(configured, model.channels if job.each_channel else ())))
    for attack in runs.values():
        attack.check(model, case)
    check_regions(model.head, job.regions)
    results.prepare_output(folder, list(runs), job.case.files)
    clean = model.predict(case, _part_of(emit, 0.0, _CLEAN_SHARE), cancel)
    results.write_clean(folder, clean.labels, case, job.ending)
    results.write_json(folder / results.JOB_FILE, job.anywhere().model_dump(mode="json"))
    rows: list[dict[str, Any]] = []
    for done, (name, attack) in enumerate(runs.items()):
        start, end = (_CLEAN_SHARE + (1 - _CLEAN_SHARE) * n / len(runs) for n in (done, done + 1))
        outcome = _one_attack(name, attack, model, case, clean, job, _part_of(emit, start, end), cancel)
        rows += compare({name: outcome.evaluation})
        write_table(rows, folder / results.TABLE_FILE)
        for row in outcome.result.trace:
            emit({"event": "trace", "name": name, **plain(row)})
        emit({"event": "result", "name": name, "folder": str(outcome.folder), "row": plain(rows[-1])})
        if observe is not None:
            observe(outcome)
    return rows


def _one_attack(
    name: str,
    attack: Attack,
    model: SegmentationModel,
    case: Case,
    clean: Prediction,
    job: AttackJob,
    progress: ProgressCallback,
    cancel: CancelCheck | None,
) -> AttackOutcome:
    """Attack, measure and write."""
    result = attack(model, case, progress=lambda x, text: progress(0.8 * x, text), cancel=cancel)
    measuring = f"{attack.title}: measuring"
    attacked = model.predict(result.adversarial, lambda x, text: progress(0.8 + 0.1 * x, measuring), cancel)
    progress(0.9, measuring)
    evaluation = evaluate(result, model, job.regions, clean, attacked)
    check_cancel(cancel)
    folder = Path(job.output) / name
    results.write_attack(folder, result, evaluation, model, job.ending)
    return AttackOutcome(name, result, evaluation, model.head, folder)


def _configured(data: Mapping[str, Any]) -> Attack:
    settings = dict(data)
    if not isinstance(settings.get("attack"), str):
        raise InputError('Each attack of a job needs the name of an attack, such as {"attack": "fgsm", "epsilon": 0.05}.')
    return make_attack(settings.pop("attack"), settings)


def _with_source(attack: Attack, device: str, open_model: Opener) -> Attack:
    """A transfer with its source network opened as the job's own network is, so that both may stay open from job to job."""
    if not isinstance(attack, Transfer) or not isinstance(attack.source, str):
        return attack
    return attack.with_source(open_model(ModelSource(path=attack.source, trust=attack.trust, device=device)))


def _varied(attacks: list[Attack], channels: tuple[str, ...]) -> Iterator[Attack]:
    """Each attack, followed by the same on each single channel where that was asked for and makes a difference."""
    for attack in attacks:
        yield attack
        if len(channels) > 1 and attack.channels is None and attack.by_channel:
            for channel in channels:
                yield attack.model_copy(update={"channels": (channel,)})


def _named(attacks: Iterator[Attack]) -> Iterator[tuple[str, Attack]]:
    """A folder name for each attack: its own name, its channels, and a number where that is taken."""
    taken: set[str] = set()
    for attack in attacks:
        base = file_name("-".join([attack_class(attack.name).name, *(attack.channels or ())]))
        name = next(x for x in itertools.chain([base], (f"{base}-{n}" for n in itertools.count(2))) if x not in taken)
        taken.add(name)
        yield name, attack


def _part_of(emit: Emit, start: float, end: float) -> ProgressCallback:
    """Progress of one part, as progress of the whole."""
    return lambda fraction, message: emit(_progress(start + fraction * (end - start), message))


def _progress(fraction: float, message: str) -> dict[str, Any]:
    return {"event": "progress", "fraction": round(fraction, 4), "message": message}
