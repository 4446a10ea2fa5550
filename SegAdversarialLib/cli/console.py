"""What the command line shows: a progress bar and tables for people, or events as JSON lines for programs."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from SegAdversarialLib.cli.interruption import STOPPED
from SegAdversarialLib.cli.progress import Progress
from SegAdversarialLib.errors import Cancelled, InputError

INPUT_WRONG = 2


class Console:
    """Takes a job's events and shows them.

    Attributes:
        status: the exit status so far.
    """

    def __init__(self, events: bool = False) -> None:
        self._events = events
        self._progress = Progress(sys.stderr)
        self.status = 0

    def emit(self, event: dict[str, Any]) -> None:
        """Show one event of a job."""
        if self._events:
            print(json.dumps(event, ensure_ascii=False), flush=True)
        elif event["event"] == "progress":
            self._progress.show(event["fraction"], event["message"], event.get("left"))
        elif event["event"] == "log":
            self.say(event["message"], sys.stderr)

    def say(self, text: str = "", stream: Any = None) -> None:
        """Print text for people; programs that read events get none of it."""
        if self._events:
            return
        self._progress.pause()
        print(text, file=stream or sys.stdout, flush=True)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Turn what goes wrong into one sentence and an exit status, and warnings of the library into log events."""
        handler = _ToConsole(self)
        logger = logging.getLogger("SegAdversarialLib")
        logger.addHandler(handler)
        propagated, logger.propagate = logger.propagate, False
        try:
            yield
        except InputError as error:
            self._fail(str(error), INPUT_WRONG)
        except (KeyboardInterrupt, Cancelled):
            self._fail("Stopped; what was finished before is kept.", STOPPED)
        except BrokenPipeError:  # whoever read the output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except OSError as error:
            self._fail(f"{error.strerror or error}: {error.filename or 'a file could not be used'}.", INPUT_WRONG)
        except MemoryError:
            self._fail("There is not enough memory; use smaller windows (--window) or a smaller volume.", INPUT_WRONG)
        finally:
            logger.removeHandler(handler)
            logger.propagate = propagated
            self._progress.close()

    def _fail(self, message: str, status: int) -> None:
        self.status = status
        self._progress.close()
        if self._events:
            self.emit({"event": "error", "message": message})
        else:
            print(f"segadversarial: {message}", file=sys.stderr, flush=True)


class _ToConsole(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.emit({"event": "log", "level": record.levelname.lower(), "message": record.getMessage()})
