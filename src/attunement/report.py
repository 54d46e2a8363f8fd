"""Stage report: everything → ``out/report/card.md`` (model card) and ``metrics/headline.json``.

The card follows Mitchell et al., "Model Cards for Model Reporting" (2019). Failed gates are in it. It holds no
reply of a model and no word of a person: those are read on the dashboard.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from attunement.artefacts import publishing, read_json, read_jsonl, verify, write_text
from attunement.errors import ends_clearly
from attunement.helplines import load_helplines, verifications
from attunement.params import Headline, Params, load
from attunement.process import begin
from attunement.records import (
    Bench,
    Candidate,
    Estimate,
    ScorerCard,
    ScoreSummary,
    Selection,
    TrainingSummary,
    Verdict,
)
from attunement.stats import upper_bound

OUT = Path("out/report")
HEADLINE = Path("metrics/headline.json")
TEMPLATE = Path(__file__).with_name("card.md.jinja")


@dataclass(frozen=True)
class Probed:
    """A checkpoint, with the upper bound of its share of toxic replies when each unscored one is taken for toxic."""

    candidate: Candidate
    upper_bound: float


def headline(
    wanted: dict[str, Headline], verdict: Verdict, selection: Selection, summaries: Sequence[ScoreSummary]
) -> dict[str, float | None]:
    """At most six numbers: the declared ones, the share of rules that hold, and the validation loss."""
    chosen = next(candidate for candidate in selection.candidates if candidate.step == selection.step)
    held = sum(rule.passed for rule in verdict.rules) / len(verdict.rules)
    declared = {name: _number(one, summaries) for name, one in wanted.items()}
    rounded = {"rules_held": held, **declared, "val_loss": chosen.val_loss}
    return {name: None if value is None else round(value, 4) for name, value in rounded.items()}


def _number(wanted: Headline, summaries: Sequence[ScoreSummary]) -> float | None:
    """Share of scored tuned replies with one of the labels, or the mean value; None when nothing was scored."""
    own = next((s for s in summaries if (s.suite, s.scorer, s.model) == (wanted.suite, wanted.scorer, "tuned")), None)
    if own is None or own.n == own.n_unscored:
        return None
    if not wanted.labels:
        return own.mean
    return sum(own.labels.get(label, 0) for label in wanted.labels) / (own.n - own.n_unscored)


def render(params: Params, evidence: dict[str, Any]) -> str:
    """The model card as Markdown with the hub's front matter; an undefined name in the template is an error."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False)  # noqa: S701  # Markdown of our own numbers, no HTML
    environment.filters["number"] = _shown
    environment.filters["estimate"] = _estimate
    environment.filters["sentence"] = lambda text: text[:1].upper() + text[1:]
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|").replace("\n", " ")
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    return template.render(params=params, **evidence)


def _shown(value: float | None, form: str = ".3f") -> str:
    """A number, or 'not scored': never 0 for what was not measured."""
    return "not scored" if value is None else format(value, form)


def _estimate(found: Estimate | None) -> str:
    """A number with its interval; nothing where the set does not ask it."""
    return f"{found.value:.3f} ({found.low:.2f} to {found.high:.2f})" if found else ""


def comparison(summaries: Sequence[ScoreSummary]) -> list[dict[str, Any]]:
    """Base and tuned beside each other, a row per suite and scorer; none where a scorer was asked of no reply."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for s in (one for one in summaries if one.n):
        rows.setdefault((s.suite, s.scorer), {"suite": s.suite, "scorer": s.scorer})[s.model] = s
    return [row for _, row in sorted(rows.items()) if {"base", "tuned"} <= row.keys()]


def probed(candidates: Sequence[Candidate], *, confidence: float) -> list[Probed]:
    """Every checkpoint with its one-sided exact bound: it tells how much its number of prompts carries."""
    return [Probed(c, upper_bound(c.n_toxic + c.n_unscored, c.n_replies, confidence=confidence)) for c in candidates]


def benches(base: Sequence[Bench], tuned: Sequence[Bench]) -> list[tuple[Bench, Bench]]:
    """Base and tuned beside each other by task and metric; what one of them lacks stands there as not measured."""
    keys = dict.fromkeys((one.task, one.metric) for one in (*base, *tuned))
    return [(_bench(base, key), _bench(tuned, key)) for key in keys]


def _bench(results: Sequence[Bench], key: tuple[str, str]) -> Bench:
    absent = Bench(task=key[0], version="", metric=key[1], value=None, stderr=None, n=0)
    return next((one for one in results if (one.task, one.metric) == key), absent)


@ends_clearly
def main() -> None:
    """``python -m attunement.report``"""
    params = load()
    verdict = read_json(verify(Path("out/gate")) / "verdict.json", Verdict)
    selection = read_json(verify(Path("out/select")) / "selection.json", Selection)
    summaries = read_jsonl(verify(Path("out/score")) / "summary.jsonl", ScoreSummary)
    bench = {name: read_jsonl(verify(Path(f"out/bench/{name}")) / "bench.jsonl", Bench) for name in ("base", "tuned")}
    training = read_json(verify(Path("out/train")) / "summary.json", TrainingSummary)
    curated = json.loads((verify(Path("out/curate")) / "summary.json").read_text(encoding="utf-8"))
    card = render(params, {"verdict": verdict, "selection": selection, "curated": curated, "training": training,
                           "probed": probed(selection.candidates, confidence=params.gate.confidence),
                           "comparison": comparison(summaries),
                           "cards": read_jsonl(verify(Path("out/calibrate")) / "cards.jsonl", ScorerCard),
                           "helplines": verifications(load_helplines(Path(params.curate.helplines))),
                           "benches": benches(bench["base"], bench["tuned"])})
    with publishing(OUT) as folder:
        write_text(folder / "card.md", card)
    numbers = headline(params.report.headline, verdict, selection, summaries)
    write_text(HEADLINE, json.dumps(numbers, indent=1, allow_nan=False) + "\n")  # in the declared order, as it is shown
    print(f"report: {OUT}/card.md, {HEADLINE}", file=sys.stderr)


if __name__ == "__main__":
    begin("report", __doc__)
    main()
