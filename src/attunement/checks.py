"""What ``attune check`` looks at beyond params.yaml: that every file it names exists and parses."""

from collections.abc import Callable
from pathlib import Path

from attunement.crisis import load_helplines, read_yaml
from attunement.errors import AttunementError, DataError
from attunement.params import Params
from attunement.sources.base import Source
from attunement.suites import read_suite


def check_files(params: Params) -> list[str]:
    """A line per thing that is in order; raises DataError listing every fault found."""
    fine: list[str] = []
    faults: list[str] = []
    for name, look in _looks(params):
        try:
            fine.append(f"ok  {name}: {look()}")
        except AttunementError as error:
            faults.append(f"  {name}: {error}")
    if faults:
        raise DataError(f"{len(faults)} fault{'s' * (len(faults) > 1)} in files that params.yaml names:\n"
                        + "\n".join(faults))
    return fine


def _looks(params: Params) -> list[tuple[str, Callable[[], str]]]:
    suites = dict.fromkeys((*params.respond.suites, params.train.probe.suite))
    looks: list[tuple[str, Callable[[], str]]] = []
    looks += [(f"suite {name}", lambda name=name: f"{len(read_suite(name))} prompts") for name in suites]
    looks += [(f"source {s.name}", lambda s=s: _source(s, params.curate.max_quarantined_frac)) for s in params.curate.sources]
    looks.append(("helplines", lambda: f"{len(load_helplines(Path(params.curate.helplines)))} regions"))
    looks += [(f"scorer {s.name}", lambda s=s: f"version {s.version}")
              for s in (*params.train.probe.scorers, *params.score.scorers)]
    looks += [(f"task {name}", lambda name=name: _task(name, Path(params.bench.include))) for name in params.bench.tasks]
    return looks


def _source(source: Source, max_quarantined_frac: float) -> str:
    """Reads the corpus once; broken rows beyond the declared share are a fault here too."""
    rows = list(source.read())
    broken = [row for row in rows if row.fault is not None]
    if not rows:
        raise DataError(f"{source.files} holds no row.")
    if len(broken) > max_quarantined_frac * len(rows):
        first = "; ".join(f"{row.file}:{row.line} {row.fault_at}: {row.fault}" for row in broken[:5])
        raise DataError(f"{len(broken)} of {len(rows)} rows do not parse, more than curate.max_quarantined_frac "
                        f"({max_quarantined_frac:.1%}): {first}")
    return f"{len(rows)} rows"


def _task(name: str, include: Path) -> str:
    """A task's YAML names it; its local data files exist. lm-eval itself is not loaded (it needs ten seconds)."""
    for path in sorted(include.rglob("*.yaml")):
        task = read_yaml(path)
        if isinstance(task, dict) and task.get("task") == name:
            files = task.get("dataset_kwargs", {}).get("data_files", {}).values()
            missing = [file for file in files if not Path(file).exists()]
            if missing:
                raise DataError(f"{path} names {', '.join(missing)}, which does not exist.")
            return path.as_posix()
    raise DataError(f"no YAML file in {include} holds `task: {name}` (bench.tasks, bench.include).")
