"""A fault that pydantic found, as a sentence a person can act on: line, dotted name, what was expected and what came.

In: one of pydantic's error details, the tree that ruamel read, and the model it was validated against. pydantic
knows types and no lines; ruamel knows lines and no types.
"""

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel

Location = tuple[str | int, ...]


def described(fault: Any, tree: Any, model: type[BaseModel]) -> tuple[int, str]:
    """One of pydantic's error details as (line, sentence)."""
    where = _in_tree(fault["loc"], tree, model)
    name, last = dotted(where) or "the file", fault["loc"][-1] if fault["loc"] else ""
    if fault["type"] == "missing":
        return line_of(where[:-1], tree), f"{name}: is missing and has no default"
    if fault["type"] == "extra_forbidden":
        known = _fields_at(fault["loc"][:-1], model)
        return line_of(where, tree), f"{name}: unknown key{nearest(str(last), known)} (known: {', '.join(known)})"
    if fault["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return line_of(where, tree), f"{name}: {_kind_problem(fault, model)}"
    return line_of(where, tree), f"{name}: {_value_problem(fault)}"


def _kind_problem(fault: Any, model: type[BaseModel]) -> str:
    """Of a list or map whose ``kind`` decides its other fields."""
    kinds = [kind for member in _members(_at(fault["loc"], model)) for kind in _kinds(member)]
    if fault["type"] == "union_tag_not_found":
        return f"kind is missing (known: {', '.join(kinds)})"
    given = str(fault["ctx"]["tag"])
    return f"unknown kind '{given}'{nearest(given, kinds)} (known: {', '.join(kinds)})"


def _value_problem(fault: Any) -> str:
    """Of a value: what was expected, what came, and the nearest of the words that are possible."""
    got = fault["input"]
    message = fault["msg"].replace("Input should be", "expected")
    if not isinstance(got, str | int | float | bool):
        return f"{message}, got {'nothing' if got is None else 'a list' if isinstance(got, list) else 'a map'}"
    shown = f"{message}, got {json.dumps(got, ensure_ascii=False)}"
    if fault["type"] == "literal_error" and isinstance(got, str):
        possible = fault["ctx"]["expected"].replace(" or ", ",").split(",")
        return shown + nearest(got, [word.strip(" '") for word in possible])
    return shown


def nearest(name: str, known: Iterable[str]) -> str:
    """'. Did you mean …?' when a known name is close, else an empty string."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f". Did you mean '{close[0]}'?" if close else ""


def line_of(where: Location, tree: Any) -> int:
    """The 1-based line of a location, or of its nearest ancestor that has one."""
    node, line = tree, 1
    for part in where:
        try:
            line = (node.lc.item(part)[0] if isinstance(part, int) else node.lc.key(part)[0]) + 1
            node = node[part]
        except (KeyError, AttributeError, TypeError, IndexError):
            break
    return line


def dotted(where: Location) -> str:
    """'train.lora.r'."""
    return ".".join(str(part) for part in where)


def _in_tree(loc: Location, tree: Any, model: type[BaseModel]) -> Location:
    """The parts of a pydantic location that are keys of the file: union tags are not, even if a key has their name."""
    node, kept = tree, []
    for i, part in enumerate(loc):
        last = i == len(loc) - 1
        if _tagged(_at(loc[:i], model), part) is not None:
            continue
        if isinstance(node, dict) and (part in node or last):
            node = node.get(part)
        elif isinstance(node, list) and isinstance(part, int) and part < len(node):
            node = node[part]
        else:
            continue
        kept.append(part)
    return tuple(kept)


def _fields_at(loc: Sequence[str | int], model: type[BaseModel]) -> list[str]:
    """The names that a section may hold."""
    found = _at(loc, model)
    return list(found.model_fields) if isinstance(found, type) and issubclass(found, BaseModel) else []


def _at(loc: Sequence[str | int], model: type[BaseModel]) -> Any:
    """The type that a pydantic location leads to, by field, index, map key or union tag."""
    found: Any = model
    for part in loc:
        tagged = _tagged(found, part)
        if tagged is not None:
            found = tagged
        elif isinstance(found, type) and issubclass(found, BaseModel):
            field = found.model_fields.get(str(part))
            found = field.annotation if field else None
        elif get_origin(found) in (tuple, dict):
            found = get_args(found)[1 if get_origin(found) is dict else 0]
    return found


def _tagged(annotation: Any, part: str | int) -> Any:
    """The member of a union by ``kind`` that a tag chooses; None when there is no union, or no such tag."""
    members = _members(annotation)
    is_union = get_origin(annotation) is Annotated or len(members) > 1
    return next((member for member in members if is_union and part in _kinds(member)), None)


def _members(annotation: Any) -> tuple[Any, ...]:
    """The types of a union; one type alone is a union of one."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    return tuple(get_args(annotation)) if get_origin(annotation) not in (None, tuple, dict) else (annotation,)


def _kinds(member: Any) -> tuple[str, ...]:
    """The words by which ``kind`` names a model."""
    is_model = isinstance(member, type) and issubclass(member, BaseModel)
    return get_args(member.model_fields["kind"].annotation) if is_model and "kind" in member.model_fields else ()
