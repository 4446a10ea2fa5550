"""The Dask cluster that a study runs on: workers of its own on this machine, or those of a scheduler that runs somewhere."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from SegAdversarialLib.errors import InputError, detail_of

if TYPE_CHECKING:
    from distributed import Client

PATIENCE = 10.0
"""Seconds within which a scheduler has to answer."""

GONE = (
    "The scheduler has gone; what was finished is in the study's file: run the study again with a scheduler that runs, and it "
    "goes on from there."
)

_MEMORY_OF_A_WORKER = 4 * 2**30
"""Bytes that a worker takes with torch, a network and a case or two of whole volumes."""

_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd", "C:/Windows/System32/nvcuda.dll")
"""Of which one is there where there is a GPU for torch."""

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")


@dataclass(frozen=True)
class Post:
    """One worker process on this machine: its threads, and the GPU that it sees; None: all that there are, or none."""

    threads: int
    gpu: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables that it is started with."""
        found = {name: str(self.threads) for name in _THREADS}
        return found if self.gpu is None else {**found, "CUDA_VISIBLE_DEVICES": self.gpu}


def posts(
    workers: int | None,
    threads: int | None,
    *,
    gpus: Sequence[str] | None = None,
    cores: int | None = None,
    memory: int | None = None,
) -> list[Post]:
    """The workers to start on this machine: one for each GPU; without one, one for each core as far as memory suffices.

    Args:
        workers: how many; None: as above. More than there are GPUs share them.
        threads: of each; None: the cores are shared out.
        gpus, cores, memory: what there is; memory in bytes. None: found out.

    Raises:
        InputError: there are to be no workers, or workers without threads.
    """
    for name, number in (("workers", workers), ("threads", threads)):
        if number is not None and number < 1:
            raise InputError(f"A study needs 1 or more {name}; {number} were asked for.")
    there = visible_gpus() if gpus is None else list(gpus)
    cores = usable_cores() if cores is None else cores
    if workers is None:
        if there:
            workers = len(there)
        else:
            wanted = cores if threads is None else max(1, cores // threads)
            workers = max(1, min(wanted, (_memory() if memory is None else memory) // _MEMORY_OF_A_WORKER))
    share = threads if threads is not None else max(1, cores // workers)
    return [Post(share, there[n % len(there)] if there else None) for n in range(workers)]


def visible_gpus() -> list[str]:
    """The GPUs of this machine that torch can use, as CUDA_VISIBLE_DEVICES names them."""
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if (said is not None and not said.strip()) or not any(os.path.exists(x) for x in _DRIVERS):
        return []
    import torch  # which takes seconds

    count = torch.cuda.device_count()
    named = [x.strip() for x in said.split(",")] if said else [str(n) for n in range(count)]
    return named[:count]


def usable_cores() -> int:
    """How many cores this process may use."""
    from dask.system import CPU_COUNT

    return int(CPU_COUNT)


@contextmanager
def connected(scheduler: str | None, workers: int | None, threads: int | None) -> Iterator[Client]:
    """A client of a running scheduler, or of workers that are started for it and end with it.

    Args:
        scheduler: its address ("tcp://node7:8786"); None: workers on this machine.
        workers, threads: of these; see `posts`.

    Raises:
        InputError: Dask is not installed, the scheduler does not answer or has another version, or workers do not start.
    """
    _check_installed()
    with _quiet():
        if scheduler is None:
            with _own(posts(workers, threads)) as client:
                yield client
        else:
            with _joined(scheduler) as client:
                yield client


@contextmanager
def _joined(address: str) -> Iterator[Client]:
    from distributed import Client
    from distributed import __version__ as here

    try:
        _knock(address)
        client = Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, ImportError, RuntimeError, TypeError) as error:
        raise InputError(
            f"No Dask scheduler answers at {address} ({detail_of(error)}); give the address that one shows when it starts, "
            "such as tcp://node7:8786, or none, to work on this machine."
        ) from None
    try:
        told: Any = client.get_versions()
        there = told["scheduler"]["packages"]["distributed"]
        if there != here:
            raise InputError(
                f"The scheduler at {address} runs distributed {there}, this is {here}; install the same version on both sides."
            )
        yield client
    except (OSError, RuntimeError) as error:
        if client.status == "running":
            raise
        raise InputError(GONE) from error  # in the middle of a question to it
    finally:
        client.close(timeout=5)


def _knock(address: str) -> None:
    """Find out whether something at an address speaks as Dask does.

    A client's own timeout ends where a connection is made: it would wait for ever for the greeting of what never answers.
    """
    from distributed.comm import connect

    async def knock() -> None:
        comm = await asyncio.wait_for(connect(address, timeout=PATIENCE), PATIENCE + 1)
        await comm.close()

    # in a thread of its own: where the caller's has an event loop (a notebook), no other can be run
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, knock()).result()


@contextmanager
def _own(wanted: Sequence[Post]) -> Iterator[Client]:
    from distributed import Client, Nanny, Scheduler, SpecCluster

    spec = {n: {"cls": Nanny, "options": _options(n, post)} for n, post in enumerate(wanted)}
    at_home = {"cls": Scheduler, "options": {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "allowed_failures": 0}}
    cluster: Any = None
    try:
        with _uninterrupted():
            try:
                cluster = SpecCluster(workers=spec, scheduler=at_home, silence_logs=logging.CRITICAL)
            except (OSError, RuntimeError) as error:
                raise InputError(f"No workers could be started on this machine ({detail_of(error)}).{_guard()}") from error
        with Client(cluster, set_as_default=False) as client:
            client.register_plugin(_deaf_to_interruption())
            yield client
    finally:
        if cluster is not None:
            _end(cluster)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Put a Ctrl-C off until the block has ended, so that no worker is left without anybody who would end it; a second one
    counts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: Any = signal.getsignal(signal.SIGINT)
    came: list[tuple[Any, ...]] = []

    def put_off(*given: Any) -> None:
        came.append(given)
        if len(came) > 1 and callable(before):
            before(*given)

    signal.signal(signal.SIGINT, put_off)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if came and callable(before):
            before(*came[0])


def _end(cluster: Any) -> None:
    """End the workers and their scheduler, whatever they are at: an attack that nobody waits for has nothing to lose."""
    for nanny in cluster.workers.values():
        nanny.auto_restart = False
        with suppress(OSError, TypeError):  # it has ended already, or never begun
            os.kill(nanny.pid, signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
    with suppress(TimeoutError):
        cluster.close(timeout=PATIENCE)


def _options(number: int, post: Post) -> dict[str, Any]:
    # the operating system decides about memory: what torch holds is none of Dask's, and a worker that Dask has paused for it
    # would wait for ever
    return {
        "name": f"worker-{number}",
        "host": "127.0.0.1",
        "nthreads": 1,
        "memory_limit": 0,
        "env": post.environment,
        "silence_logs": logging.CRITICAL,
        "dashboard_address": "127.0.0.1:0",
    }


def _deaf_to_interruption() -> Any:
    """Ctrl-C in a terminal goes to the workers, too, which are for the client to end."""
    from distributed import WorkerPlugin

    class Deaf(WorkerPlugin):
        name = "segadversarial-interruption"

        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    return Deaf()


def _guard() -> str:
    """What a script lacks that is run again by each of its workers."""
    main = sys.modules.get("__main__")
    script = getattr(main, "__file__", None) if getattr(main, "__spec__", None) is None else None
    if script is None or not os.path.exists(script):
        return ""
    return f" Workers run {script} again when they start: what it does belongs under if __name__ == '__main__'."


def _check_installed() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise InputError(
            "Studies run on Dask, which is not installed; install it with pip install 'SegAdversarialLib[studies]'."
        ) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Dask's own log is for its developers: what matters of it is said here in other words."""
    # each of Dask's loggers has a level of its own
    names = [x for x in logging.root.manager.loggerDict if x.split(".")[0] == "distributed"]
    loggers = [log for log in map(logging.getLogger, names) if not log.disabled]
    for log in loggers:
        log.disabled = True
    try:
        yield
    finally:
        for log in loggers:
            log.disabled = False


def _memory() -> int:
    from distributed.system import MEMORY_LIMIT

    return int(MEMORY_LIMIT)
