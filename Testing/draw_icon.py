"""Draw the module's icon and the thumbnail of the sample subject.

    python Testing/draw_icon.py

Needs PySide6 and the library. The pictures are our own drawings: run this again rather than editing them.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
from PySide6 import QtCore, QtGui

ROOT = Path(__file__).resolve().parents[1]
ICONS = ROOT / "SegAdversarial" / "Resources" / "Icons"
SIZE = 128
OVERSAMPLING = 4
ZOOM = 4
"""Pixels of the thumbnail for each voxel, along both axes."""
OUTLINE = 2
"""Pixels, half as wide as the icon's lines."""

SKULL = QtGui.QColor("#e8ecf1")
BRAIN = QtGui.QColor("#7d8a99")
LINE = QtGui.QColor("#38434f")
TUMOUR = QtGui.QColor("#f2b134")
RISE = QtGui.QColor("#d7263d")
FALL = QtGui.QColor("#2f6fde")


def icon() -> QtGui.QImage:
    """A head in axial view: its left half as it is, with a segment; its right half under a pattern of signs."""
    image = QtGui.QImage(SIZE * OVERSAMPLING, SIZE * OVERSAMPLING, QtGui.QImage.Format.Format_ARGB32)
    image.fill(QtCore.Qt.GlobalColor.transparent)
    painter = QtGui.QPainter(image)
    painter.setRenderHint(QtGui.QPainter.RenderHint.Antialiasing)
    painter.scale(OVERSAMPLING, OVERSAMPLING)
    head = QtCore.QRectF(13, 3, 102, 122)
    brain = QtCore.QRectF(22, 12, 84, 104)
    _ellipse(painter, head, SKULL, LINE)
    _ellipse(painter, brain, BRAIN, LINE)
    _signs(painter, brain)
    _ellipse(painter, QtCore.QRectF(31, 44, 27, 33), TUMOUR, LINE)
    painter.setPen(QtGui.QPen(LINE, 4))
    painter.drawLine(QtCore.QPointF(64, 12), QtCore.QPointF(64, 116))
    painter.end()
    return image.scaled(SIZE, SIZE, mode=QtCore.Qt.TransformationMode.SmoothTransformation)


def thumbnail() -> QtGui.QImage:
    """The sample's T1ce slice with the largest tumour, its outline in the icon's colour."""
    from SegAdversarialLib import phantom

    case = phantom.subject(seed=7, shape=(64, 64, 64))
    tumour = case.label > 0
    largest = int(tumour.sum((1, 2)).argmax())
    grey = case.image[case.channels.index("T1ce"), largest]
    low, high = np.percentile(grey, (1, 99.5))
    grey = np.clip((grey - low) / (high - low), 0, 1) * 255
    pixels = np.repeat(grey[..., None], 3, axis=2).repeat(ZOOM, 0).repeat(ZOOM, 1)
    inside = tumour[largest].repeat(ZOOM, 0).repeat(ZOOM, 1)
    n = OUTLINE
    padded = np.pad(inside, n)
    eroded = padded[: -2 * n, n:-n] & padded[2 * n :, n:-n] & padded[n:-n, : -2 * n] & padded[n:-n, 2 * n :]
    pixels[inside & ~eroded] = TUMOUR.getRgb()[:3]
    data = np.ascontiguousarray(pixels.astype(np.uint8))
    height, width = data.shape[:2]
    return QtGui.QImage(data.data, width, height, 3 * width, QtGui.QImage.Format.Format_RGB888).copy()


def _ellipse(painter: QtGui.QPainter, box: QtCore.QRectF, fill: QtGui.QColor, line: QtGui.QColor) -> None:
    painter.setPen(QtGui.QPen(line, 4))
    painter.setBrush(fill)
    painter.drawEllipse(box)


def _signs(painter: QtGui.QPainter, brain: QtCore.QRectF) -> None:
    """Squares of plus and minus, as the sign of a gradient looks, over the right half of the brain."""
    painter.save()
    half = QtGui.QPainterPath()
    half.addEllipse(brain.adjusted(2, 2, -2, -2))
    painter.setClipPath(half)
    painter.setPen(QtCore.Qt.PenStyle.NoPen)
    generator = np.random.default_rng(1)
    side = 13.0
    for row in range(8):
        for column in range(4):
            rise = (row + column) % 2 == (generator.random() < 0.25)  # mostly a chequerboard: large blots look like a picture
            painter.setBrush(RISE if rise else FALL)
            painter.drawRect(QtCore.QRectF(64 + column * side, 12 + row * side, side + 0.2, side + 0.2))
    painter.restore()


def main() -> None:
    """Write both pictures."""
    ICONS.mkdir(parents=True, exist_ok=True)
    icon().save(str(ICONS / "SegAdversarial.png"))
    thumbnail().save(str(ICONS / "SyntheticBrainTumour.png"))


if __name__ == "__main__":
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path.append(str(ROOT))
    main()
