"""Step `tiers`: the quality of a dialogue by name, from an expression over its scores.

The first tier whose expression holds is the dialogue's, as the tag ``tier``. An expression compares scores by name,
with ``and``, ``or``, ``not``, brackets, + - * /: ``listening >= 0.2 and rubric_support >= 0.8``. In a scorer's name
every sign but letters and digits is an underscore. A score that could not be taken makes every comparison false.
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from attunement.drafts import Draft, Note
from attunement.steps.base import Step

COMPARE: dict[type, Callable[[float, float], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
REACH: dict[type, Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
}


class TiersStep(Step):
    """``tiers``: name to expression, best first; ``otherwise``: the name of the rest; ``drop``: tiers to leave out."""

    kind: Literal["tiers"]
    tiers: dict[str, str] = Field(min_length=1)
    otherwise: str
    drop: tuple[str, ...]

    def each(self, drafts: Sequence[Draft]) -> None:
        """Tag every draft with its tier; drop those of a tier that is left out."""
        parsed = {name: ast.parse(text, mode="eval").body for name, text in self.tiers.items()}
        for draft in drafts:
            scores = {plain_name(name): value for name, value in draft.scores.items()}
            tier = next((name for name, tree in parsed.items() if _holds(tree, scores)), self.otherwise)
            draft.tags["tier"] = tier
            if tier in self.drop:
                draft.note(Note("dropped", self.name, f"tier_{tier}"))

    def names(self) -> set[str]:
        """The scores that the expressions speak of, by plain name."""
        return {node.id for text in self.tiers.values() for node in ast.walk(ast.parse(text, mode="eval"))
                if isinstance(node, ast.Name)}

    @model_validator(mode="after")
    def _expressions_parse(self) -> Self:
        """Raises ValueError for an expression that is none, and for a dropped tier that does not exist."""
        for name, text in self.tiers.items():
            try:
                tree = ast.parse(text, mode="eval").body
                _holds(tree, {})
            except (SyntaxError, TypeError) as error:
                raise ValueError(f"tiers.{name}: expected an expression over scores such as 'listening >= 0.2', "
                                 f"{type(error).__name__.lower()}") from None
        if unknown := [name for name in self.drop if name not in (*self.tiers, self.otherwise)]:
            raise ValueError(f"drop: no tier '{unknown[0]}'; tiers: {', '.join((*self.tiers, self.otherwise))}")
        return self


def plain_name(scorer: str) -> str:
    """A scorer's name as an expression writes it."""
    return re.sub(r"\W", "_", scorer)


def _holds(tree: ast.expr, scores: Mapping[str, float | None]) -> bool:
    """Whether an expression holds; raises TypeError for one that is no comparison of scores."""
    match tree:
        case ast.BoolOp(op=op, values=values):
            found = [_holds(value, scores) for value in values]
            return all(found) if isinstance(op, ast.And) else any(found)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return not _holds(operand, scores)
        case ast.Compare(left=left, ops=ops, comparators=others):
            numbers = [_number(one, scores) for one in (left, *others)]
            if any(type(op) not in COMPARE for op in ops):
                raise TypeError("no comparison of numbers")
            known = [number for number in numbers if number is not None]
            return len(known) == len(numbers) and all(
                COMPARE[type(op)](a, b) for op, a, b in zip(ops, known, known[1:], strict=False))
        case _:
            raise TypeError("no comparison")


def _number(tree: ast.expr, scores: Mapping[str, float | None]) -> float | None:
    match tree:
        case ast.Constant(value=bool()):
            raise TypeError("no number")
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name):
            return scores.get(name)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _number(operand, scores)
            return None if inner is None else -inner
        case ast.BinOp(left=left, op=op, right=right) if type(op) in REACH:
            a, b = _number(left, scores), _number(right, scores)
            if a is None or b is None or (isinstance(op, ast.Div) and b == 0):
                return None
            return REACH[type(op)](a, b)
    raise TypeError("no number")


