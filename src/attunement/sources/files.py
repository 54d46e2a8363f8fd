"""Which files a declaration names: a file, a folder, or a glob; each file once, whatever links lead to it.

Links to folders are followed, and a folder that links lead back to is entered once: `glob` and `rglob` read it forty
times over, or never end. Of several names for one file the one without links is taken, else the first.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

MAGIC = re.compile(r"[*?\[]")
ANY_DEPTH = "**"


def each_once(paths: Iterable[Path]) -> list[Path]:
    """The files behind these names, sorted, each by one name."""
    found: dict[str, Path] = {}
    for path in sorted(set(paths), key=lambda path: (_linked(path), path)):
        found.setdefault(os.path.realpath(path), path)
    return sorted(found.values())


def below(folder: Path) -> list[Path]:
    """Every file in a folder and in the folders in it, but for hidden ones."""
    return each_once(path for path in _expanded(folder, (ANY_DEPTH, "*")) if path.is_file())


def matching(pattern: str) -> list[Path]:
    """The files that a glob matches. ``**`` stands for folders of any depth; names that begin with a dot are hidden."""
    parts = Path(pattern).parts
    first = next((at for at, part in enumerate(parts) if MAGIC.search(part)), len(parts))
    rest = parts[first:] if parts[-1:] != (ANY_DEPTH,) else (*parts[first:], "*")
    return each_once(path for path in _expanded(Path(*parts[:first]), rest) if path.is_file())


def _expanded(base: Path, parts: Sequence[str]) -> Iterator[Path]:
    if not parts:
        yield base
    elif parts[0] == ANY_DEPTH:
        for folder in _folders(base):
            yield from _expanded(folder, parts[1:])
    elif MAGIC.search(parts[0]):
        for name in _names(base):
            if fnmatchcase(name, parts[0]) and (not name.startswith(".") or parts[0].startswith(".")):
                yield from _expanded(base / name, parts[1:])
    else:
        yield from _expanded(base / parts[0], parts[1:])


def _folders(base: Path) -> Iterator[Path]:
    """A folder and all in it, each once by what it is, not by how it is reached."""
    seen: set[str] = set()
    waiting = [base]
    while waiting:
        folder = waiting.pop(0)
        real = os.path.realpath(folder)
        if real in seen or not folder.is_dir():
            continue
        seen.add(real)
        yield folder
        waiting += [folder / name for name in _names(folder) if not name.startswith(".")]


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:  # no folder, or none that may be read: nothing in it matches
        return []


def _linked(path: Path) -> bool:
    """Whether it is a link, or a link leads to it."""
    return os.path.realpath(path) != os.path.abspath(path)  # noqa: PTH100  # Path.absolute keeps ".."
