"""How far an attack is, by what it has asked of its network of all that it will ask."""

from __future__ import annotations

from SegAdversarialLib.attacks.cost import ANSWER, Cost
from SegAdversarialLib.errors import CancelCheck, ProgressCallback, check_cancel


class Progress:
    """Tells how far an attack is, also between the windows of a gradient or an answer.

    Args:
        cost: what the attack will ask of its network; where that is nothing, it says itself how far it is.
        callback: told the finished fraction, which never falls, and a text.
        cancel: asked each time.
        message: the text until the attack says what it does.
    """

    def __init__(self, cost: Cost, callback: ProgressCallback | None, cancel: CancelCheck | None, message: str = "") -> None:
        self._whole = cost.seconds(1.0, ANSWER)
        self._callback, self._cancel = callback, cancel
        self._done = self._asking = self._within = self._last = 0.0
        self._passes = 0
        self._message = message

    def report(self, fraction: float, message: str) -> None:
        """The attack is at this fraction by its own count, and does this now.

        Raises:
            Cancelled: the user wants it to stop.
        """
        check_cancel(self._cancel)
        self._message = message
        self._tell(self._done / self._whole if self._whole else fraction)

    def begin(self, asked: Cost) -> None:
        """A gradient or an answer begins; what was asked for before is done."""
        self._done += self._asking
        self._asking, self._within, self._passes = asked.seconds(1.0, ANSWER), 0.0, 0

    def end(self) -> None:
        """What was asked for is done."""
        self.begin(Cost())
        if self._whole:
            self._tell(self._done / self._whole)

    def between_windows(self, share: float) -> None:
        """So much of a pass over the windows is done. An answer is one pass, a gradient a pass and the way back.

        Raises:
            Cancelled: the user wants it to stop.
        """
        check_cancel(self._cancel)
        if share < self._within:
            self._passes += 1
        self._within = share
        if not self._whole or not self._asking:
            return
        forth = min(ANSWER, self._asking)
        passed = forth * share if not self._passes else forth + (self._asking - forth) * share
        self._tell((self._done + passed) / self._whole)

    def _tell(self, fraction: float) -> None:
        self._last = min(max(fraction, self._last), 1.0)
        if self._callback is not None:
            self._callback(self._last, self._message)
