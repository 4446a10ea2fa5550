"""The tables of a study in a scene: as table nodes in one folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from SegAdversarialLib.errors import InputError
from SegAdversarialLib.scene.application import added_whole, current_scene
from SegAdversarialLib.scene.nodes import FigureNodes
from SegAdversarialLib.scene.runs import STUDY, Run
from SegAdversarialLib.scene.steps import Steps, finished
from SegAdversarialLib.scene.tables import add_metrics_table


def add_study(
    tables: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],
    scene: Any = None,
    *,
    title: str = "study",
    record: Mapping[str, Any] | None = None,
) -> FigureNodes:
    """Add the tables of a study to a scene, in a subject hierarchy folder of their own.

    Args:
        tables: of each its title and its rows; the first table is the run's own.
        scene: Slicer's own unless given.
        title: the folder's name.
        record: how they were made, as plain JSON data; their titles unless given.

    Raises:
        InputError: there are no tables. The scene is then as it was.
    """
    return finished(study_steps(tables, scene, title=title, record=record))


def study_steps(
    tables: Sequence[tuple[str, Sequence[Mapping[str, Any]]]],
    scene: Any = None,
    *,
    title: str = "study",
    record: Mapping[str, Any] | None = None,
) -> Steps[FigureNodes]:
    """`add_study` in steps."""
    scene = current_scene(scene)
    if not tables:
        raise InputError(f"{title} has no tables yet; run it first.")

    def add() -> Steps[FigureNodes]:
        run = Run(scene, STUDY, title, {})
        nodes: list[Any] = []
        for name, rows in tables:
            node = add_metrics_table(scene, name, rows)
            nodes.append(run.file(node, "table") if nodes else run.file_table(node))
            yield None
        return FigureNodes(
            run=run.identifier,
            summary=title,
            folder=run.folder,
            table=nodes[0],
            numbers=nodes[0],
            chart=None,
            series=[],
            configuration=run.add_configuration(record or {"study": title, "tables": [name for name, _ in tables]}),
        )

    return (yield from added_whole(scene, add()))
