"""Many cases under one name, whatever their layout: `cohorts.find("brats:FOLDER")`; each is read when it is needed."""

from __future__ import annotations

from SegAdversarialLib.cohorts.checking import Check, Finding
from SegAdversarialLib.cohorts.cohort import Cohort
from SegAdversarialLib.cohorts.entry import Entry, PhantomSubject
from SegAdversarialLib.cohorts.finding import find

__all__ = ["Check", "Cohort", "Entry", "Finding", "PhantomSubject", "find"]
