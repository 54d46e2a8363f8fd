"""dvc.yaml against the code: DVC never sees an edit to a module that is missing from a stage's deps."""

import ast
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "attunement"
# Left out, with what stands for them: params.py and the unions it lists are schema, and the values that a stage
# reads are tracked under `params`.
SCHEMA = {"attunement.params"}


def stages() -> dict[str, tuple[str, list[str]]]:
    """Module and deps by stage, as dvc.yaml declares them."""
    found = {}
    for name, stage in YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"].items():
        body = stage.get("do", stage)
        found[name] = (body["cmd"].split()[2], [dep.replace("${key}", "") for dep in body["deps"]])
    return found


def path_of(module: str) -> Path | None:
    """The file of a module of this package."""
    base = ROOT / "src" / Path(*module.split("."))
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.exists()), None)


def imports(path: Path) -> set[str]:
    """Modules of this package that a file imports, at its top or inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "attunement":
            submodules = {f"{node.module}.{name.name}" for name in node.names}
            inner = {name for name in submodules if path_of(name)}
            found |= inner or {node.module}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names if name.name.split(".")[0] == "attunement"}
    return found


def closure(stage: str) -> set[str]:
    """Every module of this package that a stage may read: what it imports, and what a folder among its deps holds."""
    module, deps = stages()[stage]
    folders = [ROOT / dep for dep in deps if dep.startswith("src/") and (ROOT / dep).is_dir()]
    listed = [path.relative_to(ROOT / "src").with_suffix("") for folder in folders for path in folder.glob("*.py")]
    seen, waiting = set(), [module, *(".".join(path.parts) for path in listed)]
    while waiting:
        name = waiting.pop()
        path = path_of(name)
        if name in seen or name in SCHEMA or path is None or path.name == "__init__.py":
            continue
        seen.add(name)
        waiting += imports(path)
    return seen


@pytest.mark.parametrize("stage", stages())
def test_a_stage_depends_on_every_module_it_imports(stage: str) -> None:
    deps = stages()[stage][1]
    needed = {str(path_of(name).relative_to(ROOT)) for name in closure(stage)}  # type: ignore[union-attr]
    covered = {path for path in needed if any(path == dep or path.startswith(f"{dep}/") for dep in deps)}
    assert sorted(needed - covered) == []


@pytest.mark.parametrize("stage", stages())
def test_a_stage_depends_on_no_module_that_it_does_not_import(stage: str) -> None:
    deps = stages()[stage][1]
    needed = {str(path_of(name).relative_to(ROOT)) for name in closure(stage)}  # type: ignore[union-attr]
    own = [dep for dep in deps if dep.startswith("src/attunement/") and dep.endswith(".py")]
    assert sorted(set(own) - needed) == []


@pytest.mark.parametrize("stage", stages())
def test_what_a_stage_depends_on_exists_or_is_made_by_another(stage: str) -> None:
    made = ("out/", "models", "${")
    missing = [dep for dep in stages()[stage][1]
               if not dep.startswith(made) and "${" not in dep and not (ROOT / dep).exists()]
    assert missing == []


def test_training_does_not_run_again_when_a_rubric_or_the_gate_changes() -> None:
    deps = stages()["train"][1]
    assert not {"attunement.scorers.rubric", "attunement.gate", "attunement.score"} & closure("train")
    assert not any(dep.startswith("data/rubrics") for dep in deps)


@pytest.mark.parametrize("path", sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("data/**/*.yaml")))
def test_every_shipped_yaml_parses(path: str) -> None:
    assert YAML(typ="safe").load(ROOT / path)
