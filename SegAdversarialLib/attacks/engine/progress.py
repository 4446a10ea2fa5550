"""How far an attack is, by what it has asked of its network of all that it will ask."""

from __future__ import annotations

from SegAdversarialLib.attacks.cost import ANSWER, Cost
from SegAdversarialLib.errors import CancelCheck, ProgressCallback, check_cancel

_PROBABLY = 0.9
"""The share that what an attack will probably ask is told to be of all that it may ask."""


class Progress:
    """Tells how far an attack is, also between the windows of a gradient or an answer.

    Args:
        cost: what the attack will ask of its network; where that is nothing, it says itself how far it is.
        callback: told the finished fraction, which never falls, and a text.
        cancel: asked each time.
        message: the text until the attack says what it does.
        likely: what it will probably ask, which nine tenths of the fraction stand for; None: `cost`.
    """

    def __init__(
        self,
        cost: Cost,
        callback: ProgressCallback | None,
        cancel: CancelCheck | None,
        message: str = "",
        likely: Cost | None = None,
    ) -> None:
        self._whole = cost.seconds(1.0, ANSWER)
        self._likely = self._whole if likely is None else likely.seconds(1.0, ANSWER)
        self._callback, self._cancel = callback, cancel
        self._done = self._asking = self._within = self._last = 0.0
        self._passes = 0
        self._message, self._note = message, ""

    def note(self, text: str) -> None:
        """Tell this too from now on, such as what was found so far."""
        self._note = text
        self._tell(self._last)

    def report(self, fraction: float, message: str) -> None:
        """The attack is at this fraction by its own count, and does this now.

        Raises:
            Cancelled: the user wants it to stop.
        """
        check_cancel(self._cancel)
        self._message = message
        self._tell(self._share(self._done) if self._whole else fraction)

    def begin(self, asked: Cost) -> None:
        """A gradient or an answer begins; what was asked for before is done."""
        self._done += self._asking
        self._asking, self._within, self._passes = asked.seconds(1.0, ANSWER), 0.0, 0

    def end(self) -> None:
        """What was asked for is done."""
        self.begin(Cost())
        if self._whole:
            self._tell(self._share(self._done))

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
        self._tell(self._share(self._done + passed))

    def _share(self, done: float) -> float:
        """How far it is: evenly, or, where it will probably end before its end, slower from there on."""
        if self._likely >= self._whole:
            return done / self._whole
        if done <= self._likely:
            return _PROBABLY * done / self._likely
        return _PROBABLY + (1 - _PROBABLY) * (done - self._likely) / (self._whole - self._likely)

    def _tell(self, fraction: float) -> None:
        self._last = min(max(fraction, self._last), 1.0)
        if self._callback is not None:
            self._callback(self._last, f"{self._message}, {self._note}" if self._note else self._message)
