"""How a stage runs as a process: its arguments, its end when `dvc` ends, and when Python looks for cycles."""

import argparse
import ctypes
import gc
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

S = TypeVar("S", bound=str)


def begin(module: str, doc: str | None) -> None:
    """Begin a stage that takes no argument: an unknown one ends with the usage and status 2, and --help helps.

    A stage that ignored ``--enforce`` would seem to obey it.
    """
    _parser(module, doc).parse_args()
    _die_with_parent()


def begin_with(module: str, doc: str | None, *, choices: tuple[S, ...]) -> S:
    """Begin a stage that takes one of ``choices``, and return it."""
    parser = _parser(module, doc)
    parser.add_argument("choice", choices=choices)
    chosen: S = parser.parse_args().choice
    _die_with_parent()
    return chosen


@contextmanager
def ctrl_c_as_sigterm() -> Iterator[None]:
    """Have a first Ctrl-C end what heeds SIGTERM as that does, in order; a second one interrupts at once."""
    before = signal.getsignal(signal.SIGINT)

    def once(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # nothing heeds it yet, or any more
            signal.default_int_handler(number, frame)
        signal.raise_signal(signal.SIGTERM)

    if before is signal.default_int_handler:  # else somebody wants it ignored, or heeds it
        signal.signal(signal.SIGINT, once)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def without_collector() -> Iterator[None]:
    """Make many records without Python going through all of them for cycles, which they have none of, again and again.

    With a million turns in memory that costs more than making them does. What stands at the end is never looked at
    again; it is freed as anything else that has no cycle.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was:
            gc.enable()


def _parser(module: str, doc: str | None) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"python -m attunement.{module}", description=doc)


def _die_with_parent() -> None:
    """Ask the kernel to end this process when `dvc` dies; else a killed `dvc repro` leaves its stage running."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
