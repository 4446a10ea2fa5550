"""A CSV file that lists cases: `name`, `patient` and `label` beside a column for each channel; paths relative to the file."""

from __future__ import annotations

import csv
from pathlib import Path

from SegAdversarialLib.cohorts.entry import Entry
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.volumes.files import split_choice

WORDS = "a CSV manifest (columns name, a channel each, and label and patient where there are any)"

_NAME, _PATIENT, _LABEL = "name", "patient", "label"


def entries(path: Path) -> list[Entry]:
    """The cases that a manifest lists; a file that is missing is its case's problem, with line and column.

    Raises:
        InputError: the file cannot be read, a column is missing or comes twice, or a row has no name or too many cells.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            start = file.readline()
            file.seek(0)
            reader = csv.reader(file, delimiter=max(",;\t", key=start.count))
            columns = _columns(next(reader, []), path)
            found: list[Entry] = []
            for row in reader:
                if any(cell.strip() for cell in row):
                    found.append(_entry(row, columns, path, reader.line_num))
            return found
    except (OSError, ValueError, csv.Error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"The manifest {path} cannot be read as CSV ({error}); save it as CSV in UTF-8.") from None


def _columns(header: list[str], path: Path) -> list[str]:
    columns = [x.strip() for x in header]
    columns = [x.lower() if x.lower() in (_NAME, _PATIENT, _LABEL) else x for x in columns]
    twice = next((x for x in columns if columns.count(x) > 1), None)
    if twice is not None:
        raise InputError(f'{path}, line 1: the column "{twice}" comes twice; give each column a name of its own.')
    if "" in columns:
        raise InputError(f"{path}, line 1: column {columns.index('') + 1} has no name; name each channel's column after it.")
    if _NAME not in columns or not set(columns) - {_NAME, _PATIENT, _LABEL}:
        raise InputError(
            f"{path}, line 1: the columns are {', '.join(columns) or 'none'}; name, and one for each channel, are needed "
            "(and label and patient where there are any)."
        )
    return columns


def _entry(row: list[str], columns: list[str], path: Path, line: int) -> Entry:
    if len(row) > len(columns):
        raise InputError(
            f"{path}, line {line}: {len(row)} cells for {len(columns)} columns; put texts with commas into quotes."
        )
    cells = {column: cell.strip() for column, cell in zip(columns, row) if cell.strip()}
    if _NAME not in cells:
        raise InputError(f"{path}, line {line}, column name: it is empty; give each case a name.")
    files = {x: str(path.parent / cell) for x, cell in cells.items() if x not in (_NAME, _PATIENT)}
    missing = [
        f"line {line}, column {x}: there is no {file}" for x, file in files.items() if not split_choice(file)[0].exists()
    ]
    return Entry(
        name=cells[_NAME],
        patient=cells.get(_PATIENT, cells[_NAME]),
        label=files.pop(_LABEL, None),
        channels=files,
        problem="; ".join(missing),
    )
