"""How far an attack is, by what it has asked of its network of all that it will ask."""

from __future__ import annotations

from SegAdversarialLib.attacks.cost import ANSWER, Cost
from SegAdversarialLib.errors import CancelCheck, ProgressCallback, check_cancel

_NOTHING = Cost()

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
        self._cost, self._likely_cost = cost, cost if likely is None else likely
        self._callback, self._cancel = callback, cancel
        self._done = self._asked = _NOTHING
        self._within = self._last = 0.0
        self._passes, self._search = 0, 1.0
        self._message, self._note = message, ""

    def note(self, text: str) -> None:
        """Tell this too from now on, such as what was found so far."""
        self._note = text
        self._tell(self._last)

    def weigh(self, search: float) -> None:
        """Say what a gradient of a search takes beside one of the network as it stands (0 to 1); until then 1."""
        self._search = search

    def report(self, fraction: float, message: str) -> None:
        """The attack is at this fraction by its own count, and does this now.

        Raises:
            Cancelled: the user wants it to stop.
        """
        check_cancel(self._cancel)
        self._message = message
        self._tell(self._share() if self._weight(self._cost) else fraction)

    def begin(self, asked: Cost) -> None:
        """A gradient or an answer begins; what was asked for before is done."""
        self._done += self._asked
        self._asked, self._within, self._passes = asked, 0.0, 0
        if self._done == _NOTHING:
            self._tell(0.0)

    def end(self) -> None:
        """What was asked for is done."""
        self.begin(_NOTHING)
        if self._weight(self._cost):
            self._tell(self._share())

    def between_windows(self, share: float) -> None:
        """So much of a pass over the windows is done. An answer is one pass, a gradient a pass and the way back.

        Raises:
            Cancelled: the user wants it to stop.
        """
        check_cancel(self._cancel)
        if share < self._within:
            self._passes += 1
        self._within = share
        if not self._weight(self._cost) or self._asked == _NOTHING:
            return
        forth = ANSWER if self._asked.gradients else 1.0
        self._tell(self._share(forth * share if not self._passes else forth + (1 - forth) * share))

    def _weight(self, cost: Cost) -> float:
        return cost.seconds(1.0, ANSWER, self._search)

    def _share(self, passed: float = 0.0) -> float:
        """How far it is, with so much of what is asked: evenly, or, where it will probably end before its end, slower from
        there on."""
        whole, likely = self._weight(self._cost), self._weight(self._likely_cost)
        done = self._weight(self._done) + passed * self._weight(self._asked)
        if likely >= whole:
            return done / whole
        if done <= likely:
            return _PROBABLY * done / likely
        return _PROBABLY + (1 - _PROBABLY) * (done - likely) / (whole - likely)

    def _tell(self, fraction: float) -> None:
        self._last = min(max(fraction, self._last), 1.0)
        if self._callback is not None:
            self._callback(self._last, f"{self._message}, {self._note}" if self._note else self._message)
