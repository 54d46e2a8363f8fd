"""Where the kernels of curation run: in this process, in several, or on a Ray cluster; the answers are the same.

In: a function and chunks. Out: its answers, in the order of the chunks, whoever gave them. A chunk whose worker dies is
given to another. Nothing here knows what a dialogue is.
"""

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from attunement.errors import DataError

A = TypeVar("A")
B = TypeVar("B")
AHEAD = 2  # chunks a worker that are under way or wait: more would only lie in memory
CONNECT_S = 10
RETRIES = 3  # of a chunk whose worker died


class Engine(BaseModel):
    """``curate.engine``: ``local`` (1 worker: this process) or ``ray`` with the address of a cluster."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    runner: Literal["local", "ray"]
    workers: int = Field(ge=1, description="processes, or tasks at a time on the cluster")
    batch_dialogues: int = Field(ge=1, description="dialogues in a chunk")
    address: str | None = Field(None, description="of the cluster, such as 10.0.0.1:6379; none: of this machine alone")


class Runner:
    """Maps functions over chunks; made by `running`."""

    def __init__(self, engine: Engine, submit: Callable[..., Any] | None, answer: Callable[[Any], Any]) -> None:
        self.engine, self._submit, self._answer = engine, submit, answer

    @property
    def here(self) -> bool:
        """Whether functions run in this process, and what they are given is not pickled."""
        return self._submit is None

    def map(self, function: Callable[[A], B], chunks: Iterable[A]) -> Iterator[B]:
        """``function`` of every chunk, in order. Function and chunks are pickled unless they stay `here`."""
        if self._submit is None:
            yield from map(function, chunks)
            return
        waiting: deque[Any] = deque()
        for chunk in chunks:
            waiting.append(self._submit(function, chunk))
            if len(waiting) >= AHEAD * self.engine.workers:
                yield self._answer(waiting.popleft())
        while waiting:
            yield self._answer(waiting.popleft())


@contextmanager
def running(engine: Engine) -> Iterator[Runner]:
    """A runner as declared; raises DataError when the cluster cannot be reached or a process keeps dying."""
    if engine.runner == "ray":
        with _cluster(engine) as runner:
            yield runner
    elif engine.workers == 1:
        yield Runner(engine, None, lambda found: found)
    else:
        with ProcessPoolExecutor(engine.workers, mp_context=get_context("spawn")) as pool:
            try:
                yield Runner(engine, pool.submit, lambda future: future.result())
            except BrokenProcessPool:
                raise DataError("a worker process of curate.engine was killed (most often for want of memory). Lower "
                                "curate.engine.workers or batch_dialogues.") from None


def _reach(address: str | None) -> None:
    """Raises OSError when nothing listens there; ray itself would go on asking for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()


@contextmanager
def _cluster(engine: Engine) -> Iterator[Runner]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported
    try:
        import ray
    except ImportError:
        raise DataError("curate.engine.runner is ray, and ray is not installed: pip install 'attunement[cluster]', on "
                        "every node.") from None
    where = Path.cwd()
    try:
        _reach(engine.address)
        ray.init(address=engine.address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"no Ray cluster answers at curate.engine.address {engine.address} ({type(error).__name__}). "
                        "Start one (`ray start --head`), or correct the address.") from None

    def task(function: Callable[[Any], Any], chunk: Any) -> Any:
        os.chdir(where)  # data files are named relative to the project, which every node holds at this path
        return function(chunk)

    remote = ray.remote(max_retries=RETRIES, num_cpus=1)(task)
    try:
        yield Runner(engine, remote.remote, ray.get)
    except ray.exceptions.WorkerCrashedError:
        raise DataError(f"a chunk killed its worker {RETRIES + 1} times (most often for want of memory). Lower "
                        "curate.engine.batch_dialogues.") from None
    finally:
        ray.shutdown()
