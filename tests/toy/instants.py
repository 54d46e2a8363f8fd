"""Ends its own process at a planned instant: before, in the middle of or after the n-th call of a function.

Copied into a toy project's ``blocked`` folder and armed by its sitecustomize, so that no production code knows of it.
``$INSTANT`` holds an ``Instant`` as JSON; without it nothing is touched.

As a program it is a nursery: a process that has loaded the big libraries, and forks a training for each line that it
reads. Two thirds of a toy's training are imports otherwise.
"""

import errno
import functools
import importlib.util
import io
import json
import os
import pathlib
import runpy
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.machinery import ModuleSpec
from typing import Any, Literal

VARIABLE = "INSTANT"
LIBRARIES = ("lightning", "torch._dynamo", "transformers.models.llama.modeling_llama", "peft", "pyarrow.parquet",
             "sklearn.linear_model")


@dataclass(frozen=True)
class Instant:
    """The ``nth`` call of ``function`` ("module:name" or "module:Class.name") whose arguments hold ``holding``."""

    function: str
    nth: int = 1
    when: Literal["before", "middle", "after"] = "before"
    holding: str = ""
    what: Literal["kill", "term", "interrupt", "full"] = "kill"

    def as_json(self) -> str:
        """As ``$INSTANT`` holds it."""
        return json.dumps(asdict(self))


def arm() -> None:
    """Wrap the function that ``$INSTANT`` names, now or when its module is imported."""
    if VARIABLE not in os.environ:
        return
    instant = Instant(**json.loads(os.environ[VARIABLE]))
    module = instant.function.partition(":")[0]
    if module in sys.modules:
        wrap(sys.modules[module], instant)
    else:
        sys.meta_path.insert(0, Finder(module, instant))  # type: ignore[arg-type]


class Finder:
    """Wraps a function as soon as the module that holds it has been executed."""

    def __init__(self, module: str, instant: Instant) -> None:
        self.module, self.instant = module, instant

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name != self.module:
            return None
        sys.meta_path.remove(self)  # type: ignore[arg-type]
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def executing(module: Any) -> None:
            execute(module)
            wrap(module, self.instant)

        spec.loader.exec_module = executing  # type: ignore[method-assign]
        return spec


def wrap(module: Any, instant: Instant) -> None:
    """Put a counting function in the place of the one that is named."""
    *owners, name = instant.function.partition(":")[2].split(".")
    owner = functools.reduce(getattr, owners, module)
    function, n = getattr(owner, name), 0

    @functools.wraps(function)
    def counting(*args: Any, **kwargs: Any) -> Any:
        nonlocal n
        n += instant.holding in str(args)
        if n != instant.nth or instant.holding not in str(args):
            return function(*args, **kwargs)
        n += 1  # once only
        if instant.when == "middle":
            return half(function, instant, *args)
        if instant.when == "before":
            end(instant)
        result = function(*args, **kwargs)
        if instant.when == "after":
            end(instant)
        return result

    setattr(owner, name, counting)


def half(save: Callable[..., Any], instant: Instant, value: Any, file: Any) -> None:
    """torch.save: half of the bytes, on the disk; or all of them onto a disk that is full."""
    if instant.what == "full":
        with pathlib.Path("/dev/full").open("wb") as full:
            save(value, full)
        return
    whole = io.BytesIO()
    save(value, whole)
    file.write(whole.getvalue()[: len(whole.getvalue()) // 2])
    file.flush()
    end(instant)


def end(instant: Instant) -> None:
    """What happens at the instant; SIGTERM and Ctrl-C let the process go on until it heeds them."""
    if instant.what == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "term": signal.SIGTERM, "interrupt": signal.SIGINT}[instant.what])


def serve() -> None:
    """For each line on stdin ``{"instant": …, "stderr": …}`` a training; its status, as ``subprocess`` has it."""
    for library in LIBRARIES:
        importlib.import_module(library)
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if not child:
            train_here(asked)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def train_here(asked: dict[str, str]) -> None:
    """What ``python -m attunement.train`` does, with another stderr; the process ends with it."""
    status = 0
    os.dup2(os.open(asked["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if asked["instant"]:
        os.environ[VARIABLE] = asked["instant"]
    arm()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background jobs ignore it
    sys.argv = ["attunement.train"]
    try:
        runpy.run_module("attunement.train", run_name="__main__", alter_sys=True)
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else 1
    except BaseException:
        traceback.print_exc()
        status = 1
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
