#!/usr/bin/env bash
# distributed 2026.8.0: `connect(address, timeout=1)`, and with it `Client(address, timeout=1)`, waits for ever where something accepts the
# connection and never says a word (a hung scheduler, another service, a forwarded port with nobody behind it): the timeout covers
# the connection, not the greeting that follows. Where nothing listens it ends in time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check dask==2026.8.0 distributed==2026.8.0
cd "$folder" && venv/bin/python - <<'PYTHON'
import asyncio
import socket
import time

from distributed.comm import connect

WAITED = 10


async def seconds(address: str) -> float:
    """How long connecting with a timeout of one second takes, or as long as was waited."""
    begun = time.monotonic()
    try:
        await asyncio.wait_for(connect(address, timeout=1), WAITED)
    except OSError as error:  # also TimeoutError
        print(f"{type(error).__name__} after {time.monotonic() - begun:.1f} s")
    return time.monotonic() - begun


with socket.socket() as deaf, socket.socket() as closed:
    deaf.bind(("127.0.0.1", 0))
    deaf.listen()
    closed.bind(("127.0.0.1", 0))  # it does not listen
    nobody, silent = (asyncio.run(seconds(f"tcp://127.0.0.1:{x.getsockname()[1]}")) for x in (closed, deaf))
assert nobody < 5, "where nothing listens it does not end in time either"
assert silent >= WAITED - 0.5, "the timeout covers the greeting now"
print("as found")
PYTHON
