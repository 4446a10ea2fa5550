"""What `segadversarial study` does."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.attacks.cost import duration
from SegAdversarialLib.cli.console import Console
from SegAdversarialLib.evaluation.tables import format_table
from SegAdversarialLib.studies.folder import StudyFolder

if TYPE_CHECKING:
    from SegAdversarialLib.studies.estimate import Estimate
    from SegAdversarialLib.studies.plan import Plan
    from SegAdversarialLib.studies.store import Counts, Store

_SHOWN = 10
"""Cases, attacks or errors that are listed at most."""

SOME_FAILED = 1
"""The exit status of a run after which jobs of the study have failed."""

_RECENT = 600.0
"""Seconds over which a running study's rate is counted."""


def study(options: argparse.Namespace, console: Console) -> None:
    """Plan, run, resume, look at, report or export a study."""
    _ACTIONS[options.action](options, console)


def _plan(options: argparse.Namespace, console: Console) -> None:
    from SegAdversarialLib.studies.estimate import estimate, timed
    from SegAdversarialLib.studies.plan import plan
    from SegAdversarialLib.studies.running import run_study
    from SegAdversarialLib.studies.store import Store

    where = StudyFolder.of(options.file, options.output)
    planned = plan(where.study(options.scale, options.cohort), trust=options.trust, progress=_progress(console))
    _say_plan(planned, console)
    if options.first > 0:
        run_study(options.file, first=options.first, progress=_progress(console), **_how(options), **_which(options))
    if where.store.exists():
        with Store.open(where.store, reading=True) as store:
            _say_estimate(estimate(timed(store, planned.cells)), console)
    else:
        console.say("How long they take is not known yet; --first 10 runs ten of them and tells (their results are kept).")


def _run(options: argparse.Namespace, console: Console) -> None:
    _run_or_resume(options, console, **_which(options))


def _resume(options: argparse.Namespace, console: Console) -> None:
    _run_or_resume(options, console, only_resume=True, folder=options.output)


def _run_or_resume(options: argparse.Namespace, console: Console, **which: Any) -> None:
    from SegAdversarialLib.studies.running import run_study

    where = StudyFolder.of(options.file, options.output)

    def begin(planned: Plan, store: Store) -> None:
        _say_plan(planned, console)
        _say_counts(store.counts(), console)

    counts = run_study(
        options.file, retry=options.retry, progress=_progress(console), on_begin=begin, **_how(options), **which
    )
    _say_counts(counts, console)
    with _reading(where) as store:
        _say_failures(store, console)
    if not options.no_report and counts.done:
        _report(options, console)
    if counts.failed or counts.poisoned:
        console.status = SOME_FAILED


def _status(options: argparse.Namespace, console: Console) -> None:
    from SegAdversarialLib.studies.estimate import estimate, timed

    where = StudyFolder.of(options.file, options.output)
    with _reading(where) as store:
        counts, runner = store.counts(), store.runner
        console.emit({"event": "status", "runner": runner, **vars(counts), "waiting": counts.waiting})
        _say_counts(counts, console)
        rows, finished = _by_job(store)
        if runner:
            console.say(f"It is being run by {runner}. {_rate(finished, counts)}")
        else:
            console.say("Nobody runs it now.")
            _say_estimate(estimate(timed(store)), console)
        states = [x for x in ("done", "waiting", "failed", "poisoned") if any(y[x] for y in rows.values())]
        console.say(
            "\n"
            + format_table(
                [
                    {"network": network, "job": what, "jobs": count.total(), **{x: count[x] for x in states}}
                    for (network, what), count in rows.items()
                ]
            )
        )
        for note in store.notes():
            console.say(note)
        _say_skipped(store.skipped(), console)
        _say_failures(store, console)


def _report(options: argparse.Namespace, console: Console) -> None:
    from SegAdversarialLib.studies import report

    where = StudyFolder.of(options.file, options.output)
    with _reading(where) as store:
        described = StudyFolder.of(where.path).study()
        path = report.write(described, store, where.report, progress=_progress(console))
        console.say(f"Report: {path}")
        if scene := getattr(options, "scene", None):
            report.write_scene(described, store, scene)
            console.say(f"Scene: {scene}")


def _export(options: argparse.Namespace, console: Console) -> None:
    from SegAdversarialLib.studies.export import Format, export

    formats: tuple[Format, ...] = ("csv", "parquet") if options.format == "both" else (options.format,)
    where = StudyFolder.of(options.file, options.output)
    with _reading(where) as store:
        written = export(store, options.tables or where.path / "export", formats)
    for path in written:
        console.say(str(path))
        console.emit({"event": "file", "path": str(path)})
    if not written:
        console.say("There is nothing to export yet: no job is finished.")


_ACTIONS: dict[str, Callable[[argparse.Namespace, Console], None]] = {
    "plan": _plan,
    "run": _run,
    "resume": _resume,
    "status": _status,
    "report": _report,
    "export": _export,
}


def _by_job(store: Store) -> tuple[dict[tuple[str, str], Counter[str]], list[float]]:
    """For each network and job how many are in which state; and when those that are done were finished."""
    found: dict[tuple[str, str], Counter[str]] = {}
    finished = []
    for row in store.cells():
        what = {"train": "training", "generator": f"generator {row['attack']}", "audit": "audit"}
        count = found.setdefault((row["network"], what.get(row["kind"], row["attack"])), Counter())
        count[row["state"]] += 1
        if row["state"] == "done":
            finished.append(row["finished"])
    return found, finished


def _reading(where: StudyFolder) -> Store:
    from SegAdversarialLib.studies.store import Store

    return Store.open(where.store, reading=True)


def _which(options: argparse.Namespace) -> dict[str, Any]:
    return {"folder": options.output, "scale": options.scale, "cohort": options.cohort}


def _how(options: argparse.Namespace) -> dict[str, Any]:
    return {key: getattr(options, key) for key in ("scheduler", "workers", "threads", "trust")}


def _progress(console: Console) -> Callable[[float, str], None]:
    return lambda fraction, message: console.emit({"event": "progress", "fraction": fraction, "message": message})


def _say_plan(planned: Plan, console: Console) -> None:
    """Cases, networks and attacks, and the number of jobs."""
    cells, study = planned.cells, planned.study
    jobs = {kind: planned.count(kind) for kind in ("train", "generator", "attack", "audit")}
    console.emit({"event": "plan", "study": study.study, "jobs": len(cells), **jobs, "skipped": planned.skipped})
    cases = len(planned.cohort)
    console.say(f"{study.study}: {_counted(len(cells), 'job')} on {_counted(cases, 'case')} of {study.cohort.cohort}.")
    words = {"train": "training", "generator": "training of a generator", "attack": "attack", "audit": "audit"}
    console.say(", ".join(_counted(count, words[kind]) for kind, count in jobs.items() if count) + ".")
    rows = Counter((x.network, x.attack) for x in cells if x.kind == "attack")
    table = [{"network": network, "attack": attack, "jobs": count} for (network, attack), count in rows.items()]
    if table:
        console.say("\n" + format_table(table) + "\n")
    for note in planned.notes:
        console.say(note)
    _say_skipped(planned.skipped, console)


def _counted(count: int, noun: str) -> str:
    """A number of things: "1 job", "2 trainings of a generator"."""
    first, space, rest = noun.partition(" ")
    return f"{count:,} {first}{'' if count == 1 else 's'}{space}{rest}"


def _say_skipped(skipped: dict[str, str], console: Console) -> None:
    if skipped:
        table = [{"case": name, "left out because": why} for name, why in list(skipped.items())[:_SHOWN]]
        more = f"\n... and {len(skipped) - _SHOWN} more" if len(skipped) > _SHOWN else ""
        console.say(f"\n{format_table(table)}{more}\n")


def _say_counts(counts: Counts, console: Console) -> None:
    parts = [f"{counts.done:,} of {counts.total:,} jobs are done"]
    parts += [f"{counts.failed:,} failed and are tried again by the next run"] if counts.failed else []
    parts += [f"{counts.poisoned:,} failed too often (--retry tries them again)"] if counts.poisoned else []
    console.say("; ".join(parts) + ".")
    if counts.left_out:
        console.say(f"{counts.left_out:,} finished jobs are no longer in the study file: they are kept, but not reported.")


def _say_failures(store: Store, console: Console) -> None:
    """What failed, each error once."""
    errors: dict[str, list[str]] = {}
    for row in store.cells():
        if row["state"] in ("failed", "poisoned"):
            parts = (row["network"], row["attack"], row["variant"], row["case"])
            errors.setdefault(row["error"], []).append(", ".join(x for x in parts if x))
    for error, names in list(errors.items())[:_SHOWN]:
        others = f" and {_counted(len(names) - 1, 'job')} more" if len(names) > 1 else ""
        console.say(f"Failed: {names[0]}{others}: {error}")
    if len(errors) > _SHOWN:
        console.say(f"... and {len(errors) - _SHOWN} other errors.")


def _say_estimate(found: Estimate, console: Console) -> None:
    console.emit({"event": "estimate", "waiting": found.waiting, "seconds": found.seconds})
    if not found.waiting:
        console.say("All jobs are done.")
    elif found.seconds is None:
        console.say("How long they take is not known yet; --first 10 runs ten of them and tells (their results are kept).")
    else:
        unknown = f" Nothing is known yet of {', '.join(found.unknown)}"
        others = f"{unknown}: attacks are taken to last as others do, all else is not counted."
        wait = f"{_counted(found.waiting, 'job')} that wait{'s' if found.waiting == 1 else ''}"
        console.say(
            f"The {wait} will take one worker about {duration(found.seconds)}, by the {found.measured:,} done so far; N "
            f"workers take an N-th of that.{others if found.unknown else ''}"
        )


def _rate(finished: list[float], counts: Counts) -> str:
    """The rate of a study that runs, and how long the rest will take."""
    now = time.time()
    recent = [x for x in finished if x > now - _RECENT]
    if len(recent) < 2 or now <= min(recent):
        return ""
    rate = len(recent) / (now - min(recent))
    left = (counts.total - counts.done - counts.poisoned) / rate
    return f"{60 * rate:.3g} jobs a minute of late; about {duration(left)} left."
