"""The table of docs/reliability.md names tests that exist, and every file of faults and fuzzing is in it."""

from __future__ import annotations

import re

from conftest import ROOT

PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")][1:]


def test_every_row_has_its_tests() -> None:
    assert len(ROWS) >= 15 and all(len(row) == 5 and all(row) for row in ROWS)
    for row in ROWS:
        for name in row[4].split(", "):
            assert (ROOT / "Testing" / "Python" / f"{name}.py").is_file(), name
    assert {row[2] for row in ROWS} == {"all"}  # a fault that is not survived fails its test


def test_every_test_has_its_row() -> None:
    named = {name for row in ROWS for name in row[4].split(", ")}
    files = {x.stem for kind in ("faults", "fuzz") for x in (ROOT / "Testing" / "Python").glob(f"test_{kind}_*.py")}
    assert files <= named


def test_numbers_of_the_table_are_those_of_the_tests() -> None:
    from test_faults_files import IMAGES, NETWORKS
    from test_faults_networks import SPOILS
    from test_fuzz_images import NAMES

    assert (len(IMAGES), len(NETWORKS), len(SPOILS), len(NAMES)) == (11, 4, 17, 11)
    assert re.search(r"eleven kinds of images, four of networks", PAGE) and "17 kinds" in PAGE
