"""The client of a study as a process of its own, which tests end at any moment: STORE SCHEDULER [light].

The scheduler "own" means workers of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import study_helpers

from SegAdversarialLib.cli import interruption
from SegAdversarialLib.errors import InputError
from SegAdversarialLib.studies import crew, execution
from SegAdversarialLib.studies.store import Store

GONE = 3
"""The exit status where the scheduler has gone."""


def main(path: Path, scheduler: str, light: bool) -> int:
    if light:  # cells that need no network
        crew.do_cell = study_helpers.misbehaved
    interruption.listen()
    where: dict[str, Any] = {"workers": 2, "threads": 1} if scheduler == "own" else {"scheduler": scheduler}
    with Store.open(path) as store:
        try:
            execution.run(store, store.waiting(), path.parent, keep="tables" if light else "worst", **where)
        except KeyboardInterrupt:
            return interruption.STOPPED
        except InputError as error:
            print(error, flush=True)
            return GONE
    return 0


if __name__ == "__main__":
    interruption.end(main(Path(sys.argv[1]), sys.argv[2], light=len(sys.argv) > 3))
