"""What `segadversarial audit` does, beside what all commands on several cases do."""

from __future__ import annotations

import argparse
from typing import Any

from SegAdversarialLib.cli.arguments import settings_of
from SegAdversarialLib.errors import InputError


def audit_values(options: argparse.Namespace) -> dict[str, Any]:
    """What the job says, but for the network and the cases.

    Raises:
        InputError: a setting is given twice.
    """
    settings = settings_of(options.set, "SETTING=VALUE")
    given = {"effort": options.effort, **({"epsilons": options.epsilon} if options.epsilon else {})}
    twice = sorted(set(settings) & ({"epsilons"} if options.epsilon else set()))
    if twice:
        raise InputError(f"{twice[0]} is given twice; give it once.")
    surrogate = None
    if options.surrogate is not None:
        surrogate = {"path": options.surrogate, "trust": options.trust, "device": options.device}
    common = {"output": options.output, "overwrite": options.overwrite, "surrogate": surrogate}
    return {**common, "settings": {**given, **settings}}
