"""Profiles: files of overrides that turn the starter's params.yaml into one for another machine or model.

In: params.yaml and ``profiles/NAME.yaml``. Out: params.yaml with the overrides in it and its comments kept. Maps are
merged key by key; lists and values are replaced; a map whose ``kind`` changes is replaced whole.
"""

import io
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from attunement.artefacts import write_text
from attunement.errors import ParamsError
from attunement.faults import nearest
from attunement.params import PARAMS_FILE, Params, load, read_yaml

PROFILES = Path("profiles")
WIDTH = 4096  # no line of params.yaml is broken


def names(folder: Path = PROFILES) -> list[str]:
    """The profiles there are."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def merged_text(name: str, *, params: Path = PARAMS_FILE, folder: Path = PROFILES) -> str:
    """params.yaml with a profile's overrides; raises ParamsError when there is no such profile or it is no map."""
    path = folder / f"{name}.yaml"
    if name not in names(folder):
        raise ParamsError(f"no profile '{name}' in {folder}/; there are: {', '.join(names(folder))}"
                          f"{nearest(name, names(folder))}")
    yaml = _yaml()
    tree, overrides = read_yaml(params), read_yaml(path)
    if not isinstance(overrides, dict):
        raise ParamsError(f"{path}: expected a map of sections of {params}, got {type(overrides).__name__}.")
    merge(tree, overrides)
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


def merge(tree: dict[str, Any], overrides: dict[str, Any]) -> None:
    """Put overrides into the tree; comments beside what is replaced stay, for they say what the number means."""
    for key, value in overrides.items():
        old = tree.get(key)
        if isinstance(old, dict) and isinstance(value, dict) and value.get("kind", old.get("kind")) == old.get("kind"):
            merge(old, value)
        else:
            tree[key] = value


def load_merged(name: str, *, params: Path = PARAMS_FILE, folder: Path = PROFILES) -> Params:
    """The parameters as a profile would have them, checked; params.yaml is not touched."""
    text = merged_text(name, params=params, folder=folder)
    with tempfile.TemporaryDirectory(prefix="attunement-profile-") as scratch:
        path = Path(scratch) / f"params.yaml with profile {name}"
        path.write_text(text, encoding="utf-8")
        return load(path)


def apply(name: str, *, params: Path = PARAMS_FILE, folder: Path = PROFILES, force: bool = False) -> None:
    """Write the overrides into params.yaml; raises ParamsError when that would lose changes git does not know."""
    load_merged(name, params=params, folder=folder)
    if not force and _is_changed(params):
        raise ParamsError(f"{params} has changes that are not committed, and a profile would write over them. Commit "
                          "them, or add --force.")
    write_text(params, merged_text(name, params=params, folder=folder))


def _is_changed(path: Path) -> bool:
    """Whether git knows the file and it differs from its last commit, or nobody could bring it back."""
    asked = subprocess.run(["git", "status", "--porcelain", "--", path.name], cwd=path.absolute().parent,
                           capture_output=True, text=True, check=False)
    return bool(asked.returncode or asked.stdout.strip())


def _yaml() -> YAML:
    yaml = YAML(typ="rt")
    yaml.width = WIDTH
    yaml.preserve_quotes = True
    yaml.representer.add_representer(type(None), lambda to, _: to.represent_scalar("tag:yaml.org,2002:null", "null"))
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
