"""A Slicer of its own, in the host: `slicer_process.py FOLDER` segments the sample twice, with its temporary files in FOLDER.

It says how far it is in lines, and waits for one before the second time.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "SegAdversarial"), str(ROOT / "Testing")]


def main(folder: str) -> None:
    import host

    host.start()
    import slicer
    from gui_helpers import click, finish, messages, openModule, waitUntil
    from host import slicer_module

    slicer.app.temporaryPath = folder
    panel = openModule()
    click(host, panel, panel.images.sampleButton)
    own = f"*-{os.getpid()}-*/*"
    for _ in range(2):
        panel.run.segmentButton.click()
        waitUntil(host, lambda: panel.logic.worker.processId and any(Path(folder).glob(own)), "the worker works")
        print("working", panel.logic.worker.processId, flush=True)
        finish(host, panel)
        said = messages()[-1].text if messages() else ""
        print("ended", slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode"), said, flush=True)
        sys.stdin.readline()
    slicer_module.reset()


if __name__ == "__main__":
    main(sys.argv[1])
