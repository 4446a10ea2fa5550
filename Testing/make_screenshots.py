"""Make the pictures of the README anew: `python Testing/make_screenshots.py [--only panel|attacks] [--output DIR]`.

Needs no display. The panel: a user's way through the real one, with the real worker, in the host: load sample, segment, FGSM,
i-FGSM with iterations, certify, train. The attacks: what the command line draws of those that a scanner or a body could have
made.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from draw_spectrum import draw_spectrum
from environment import ROOT, python_with

PICTURES = ROOT / "docs" / "pictures"

ATTACKS = {
    "bias-field": {},
    "deformation": {},
    "affine": {},
    "chain": {},
    "generative": {},
    "worst-of-k": {"method": '{"attack": "physics-artefact", "kind": "motion", "severity": 3}'},
}
"""Of which pictures are drawn, with settings that are not the usual ones."""

TRAINING = {
    "trainFrom": "synthetic",
    "trainSubjects": 24,
    "trainSize": 32,
    "recipe": "adversarial-training",
    "architecture": "unet-small",
    "trainingSettings": {"epochs": 40, "learning_rate": 0.005},
    "device": "cpu",
}
"""A minute on one core, in which a network learns to find all structures."""

WINDOW = (1366, 768)
"""Of the panel's pictures, in pixels: what a laptop has."""

WIDTH = 1400
"""Of the attacks' pictures, in pixels."""


class Tour:
    """Drives the panel and takes pictures on the way.

    Args:
        folder: where the pictures go.
    """

    def __init__(self, folder: Path) -> None:
        for path in (ROOT / "Testing" / "Python", ROOT / "SegAdversarial", ROOT):
            sys.path.append(str(path))
        import host

        host.start()
        import gui_helpers
        from host import slicer_module

        gui_helpers.PATIENCE = 900.0  # a training takes longer than tests wait
        self.folder, self.host, self.helpers, self.module = folder, host, gui_helpers, slicer_module
        self.window = slicer_module.window()
        self.panel: Any = gui_helpers.openModule()
        self.window.takeSize(*WINDOW)

    def run(self) -> None:
        """All of it."""
        panel = self.panel
        self.click(panel.images.sampleButton)
        self.helpers.waitUntil(self.host, lambda: panel.run.attackButton.enabled, "an attack could start")
        self.take_window("sample", panel.images)
        self.click(panel.run.segmentButton)
        self.take_window("segmented", panel.run)
        self.click(panel.run.attackButton)
        panel.results.viewButtons["compare"].click()
        self.take_window("compare", panel.results)
        panel.results.viewButtons["difference"].click()
        self.take_window("difference", panel.results)
        panel.state.change(attack="ifgsm")
        panel.state.changeAttack("ifgsm", {"snapshot_every": 1})
        panel.results.viewButtons["compare"].click()
        self.click(panel.run.attackButton)
        panel.results.iteration.setValue(4)
        self.take_window("iterations", panel.results)
        panel.results.iteration.setValue(panel.results.iteration.maximum)
        self.take("panel", self.window.grabPanel)
        self.defend()

    def defend(self) -> None:
        """A certificate, and a small network trained adversarially."""
        panel = self.panel
        panel.state.change(certifySettings={"n": 100, "sigma": 0.02})
        self.click(panel.run.certifyButton)
        panel.results.viewButtons["compare"].click()
        self.take_window("certified", panel.results)
        panel.defend.widget.collapsed = False
        with tempfile.TemporaryDirectory() as place:
            panel.state.change(**TRAINING, trainFolder=place)
            panel.state.changeRecipe("adversarial-training", {"epsilon": 0.02})
            self.click(panel.defend.trainButton)
            self.take_window("trained", panel.defend)

    def click(self, button: Any) -> None:
        """Press a button and wait for what it starts; a message box ends the tour."""
        self.helpers.click(self.host, self.panel, button)
        if self.helpers.messages() or self.host.slotErrors:
            raise RuntimeError(f"the module complained: {self.helpers.messages() or self.host.slotErrors}")

    def take_window(self, name: str, section: Any) -> None:
        """A picture of the window, with the panel scrolled to a section."""
        from host.gate import realOf

        self.module.renderAll()
        area, widget = self.window.panel.area, realOf(section.widget)
        area.verticalScrollBar().setValue(widget.mapTo(area.widget(), widget.rect().topLeft()).y())
        self.take(name, self.window.grabTo)

    def take(self, name: str, grab: Callable[[Path], Path]) -> None:
        """Write a picture."""
        self.host.processEvents(0.2)
        print(grab(self.folder / f"slicer-{name}.png"), flush=True)
        cut = cut_off(self.window.panel)
        if cut:
            raise RuntimeError(f"cut off in the panel: {', '.join(cut)}")

    def close(self) -> None:
        """Close the window and the worker."""
        self.module.quit()
        self.host.stop()


def cut_off(widget: Any) -> list[str]:
    """The labels and buttons that are smaller than their texts need."""
    from PySide6.QtWidgets import QAbstractButton, QLabel

    found = []
    for part in (*widget.findChildren(QLabel), *widget.findChildren(QAbstractButton)):
        wraps = isinstance(part, QLabel) and part.wordWrap()
        width, height = (0, part.heightForWidth(part.width())) if wraps else part.minimumSizeHint().toTuple()
        if part.isVisible() and (part.width() < width or part.height() < height):
            found.append(part.objectName() or part.text())
    return found


def draw_attacks(folder: Path) -> None:
    """Attack the demonstration's subject through the command line, and keep the pictures that it draws."""
    sys.path.append(str(ROOT))
    from PIL import Image

    from SegAdversarialLib.cli import main as command_line

    for name, settings in ATTACKS.items():
        with tempfile.TemporaryDirectory() as place:
            command = [
                "attack",
                "--phantom",
                "7",
                "--attack",
                name,
                "--pictures",
                "--device",
                "cpu",
                "--output",
                f"{place}/results",
            ]
            if command_line([*command, *(x for key, value in settings.items() for x in ("--set", f"{key}={value}"))]):
                raise RuntimeError(f"{name} has failed")
            (found,) = Path(place, "results", "pictures").iterdir()
            with Image.open(found) as picture:
                size = (WIDTH, round(WIDTH * picture.height / picture.width))
                picture.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(folder / f"{name}.png", optimize=True)
        print(folder / f"{name}.png", flush=True)
    draw_spectrum(folder / "frequency.png")


def main() -> int:
    """Make the pictures in the environment of the tests."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=PICTURES, metavar="DIR", help="where the pictures go")
    parser.add_argument("--here", action="store_true", help="in this Python, which has all that is needed")
    parser.add_argument("--only", choices=("panel", "attacks"), help="only these pictures")
    options = parser.parse_args()
    if not options.here:
        command = [str(python_with("headless,test")), __file__, "--here", "--output", str(options.output.resolve())]
        command += ["--only", options.only] if options.only else []
        return subprocess.run(command, env={"QT_QPA_PLATFORM": "offscreen", **os.environ}).returncode
    options.output.mkdir(parents=True, exist_ok=True)
    if options.only != "panel":
        draw_attacks(options.output)
    if options.only == "attacks":
        return 0
    tour = Tour(options.output)
    try:
        tour.run()
    finally:
        tour.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
