"""A worker for tests: it speaks the protocol and does as each request tells it, good or bad."""

from __future__ import annotations

import faulthandler
import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

_cancelled: set[str] = set()
_inbox: list[dict[str, Any]] = []


def send(**event: Any) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def answer(request: dict[str, Any]) -> None:
    identifier, job = request["id"], request.get("job", {})
    act = job.get("act", "done")
    if act == "echo":
        sys.stdout.write("a library prints\n")
        print("and writes to its log", file=sys.stderr, flush=True)
        send(event="progress", id=identifier, fraction=0.5, message="half", left=30.0)
        send(event="progress", id=identifier, fraction=0.6, message="6 of 10 jobs, about 5 minutes left", left=30.0)
        send(event="log", id=identifier, level="info", message="noted")
        # a line in two pieces
        text = json.dumps({"event": "done", "id": identifier, "rows": [{"ü": 1}]}) + "\n"
        for piece in (text[:9], text[9:]):
            sys.stdout.write(piece)
            sys.stdout.flush()
            time.sleep(0.05)
    elif act == "wait":
        send(event="progress", id=identifier, fraction=0.1, message="waiting")
        while identifier not in _cancelled:
            time.sleep(0.01)
        send(event="cancelled", id=identifier)
    elif act == "stubborn":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        send(event="progress", id=identifier, fraction=0.1, message=str(child.pid))
        time.sleep(600)
    elif act == "leave":
        print("Traceback: ...\nModuleNotFoundError: No module named 'torch'", file=sys.stderr, flush=True)
        os._exit(3)
    elif act == "crash":
        faulthandler.enable()
        os.abort()
    elif act == "wrong":
        send(event="error", id=identifier, kind="input", message="The file is wrong; give another.", details="")
    else:
        send(event="done", id=identifier, rows=[])


def listen() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if request["request"] == "cancel":
            _cancelled.add(request["id"])
        elif request["request"] == "quit":
            break
        else:
            _inbox.append(request)
    os._exit(0)


if __name__ == "__main__":
    os.setsid()
    send(event="ready", protocol=1, process=os.getpid(), version="0")
    threading.Thread(target=listen, daemon=True).start()
    while True:
        if _inbox:
            answer(_inbox.pop(0))
        time.sleep(0.005)
