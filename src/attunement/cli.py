"""``attune``: check the parameters, score a file of one's own, read and enforce the verdict.

The stages are plain commands (``python -m attunement.train``) that ``dvc repro`` orders; they are not repeated
here. Starts without torch.
"""

import json
import sys
from datetime import date
from pathlib import Path
from typing import Annotated, get_args

import typer
from pydantic import ValidationError

from attunement.artefacts import first_fault, write_json
from attunement.calibrate import CARDS, NO_LABELS, PLANS, card, card_path, declared_scorers, shipped_card
from attunement.checks import check_files
from attunement.cli_data import compare_datasets, ledger
from attunement.cli_train import plan, profile, show_batch
from attunement.errors import DataError, ends_clearly
from attunement.faults import nearest
from attunement.gate import read_verdict
from attunement.labelled import SETS
from attunement.params import PARAMS_FILE, Params, Report, load
from attunement.records import ScorerCard, Verdict
from attunement.report import HEADLINE
from attunement.scorers.base import Item, Scorer
from attunement.scorers.panel import AnyScorer

SHOWN_NUMBERS = 3  # of the headline; the rest is in metrics/headline.json

app = typer.Typer(
    help="Attunement: an evaluation-driven gym for support-conversation models. `dvc repro` runs the pipeline.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
)
app.command()(ledger)
app.command(name="compare")(compare_datasets)
app.command(name="show-batch")(show_batch)
app.command()(plan)
app.command()(profile)
ParamsFile = Annotated[Path, typer.Option("--params", help="The parameters to use.")]


@app.command()
@ends_clearly
def check(params: ParamsFile = PARAMS_FILE) -> None:
    """Check params.yaml and every data file, suite, rubric and task that it names; changes nothing.

    Lists all faults at once with file and line. Exit status 1 when there is one.
    """
    for line in check_files(load(params)):
        print(line)
    print(f"{params} and the files it names are in order. Next: dvc repro")


@app.command()
@ends_clearly
def score(
    kind: Annotated[str, typer.Argument(help="linear, rubric:support, … as params.yaml declares it, or crisis.")],
    file: Annotated[Path, typer.Argument(help="JSON Lines, one item a line; - reads standard input.")],
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Score your own items with a scorer of the pipeline, with the pipeline's settings.

    A line is {"id", "text"}, or {"id", "context": [{"role", "text"}…], "reply"}, or {"id", "dialogue": [{"role",
    "text"}…]}. Answers {"id", "value", "label", "because"}, one a line, in the same order; value is null when an
    item could not be scored.
    """
    scorer = _declared(load(params), kind)
    items = _read_items(file, scorer)
    for scored in scorer.score(items):
        typer.echo(scored.model_dump_json().encode())  # as bytes: UTF-8 whatever the terminal's encoding
    print(f"attune: {len(items)} items scored by {scorer.name} {scorer.version}", file=sys.stderr)


def _declared(params: Params, kind: str) -> Scorer:
    """The scorer as params.yaml declares it; one that has no setting to declare needs no line there."""
    unset = {cls.model_fields["kind"].default: cls for cls in get_args(get_args(AnyScorer)[0])
             if not any(field.is_required() for field in cls.model_fields.values())}
    scorers: dict[str, Scorer] = {s.name: s for s in (*params.train.probe.scorers, *params.score.scorers)}
    if kind not in scorers and kind in unset:
        return unset[kind]()  # type: ignore[no-any-return]  # typing.get_args knows no types
    if kind not in scorers:
        raise DataError(f"no scorer '{kind}' is declared in params.yaml (score.scorers, train.probe.scorers); "
                        f"declared: {', '.join(scorers)}{nearest(kind, scorers)}")
    return scorers[kind]


def _read_items(file: Path, scorer: Scorer) -> list[Item]:
    """Raises DataError with the line number, naming the forms that the scorer takes."""
    forms = {"text": '{"id", "text"}', "reply": '{"id", "context", "reply"}', "dialogue": '{"id", "dialogue"}'}
    wanted = " or ".join(forms[form] for form in scorer.forms)
    if str(file) != "-" and not file.is_file():
        raise DataError(f"{file} is not a file.")
    lines = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    items = []
    for number, line in enumerate(lines.splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = Item.model_validate_json(line)
        except ValidationError as error:
            raise DataError(f"{file}:{number}  {first_fault(error)}. {scorer.name} takes {wanted}.") from error
        given = [form for form in ("text", "reply", "dialogue") if getattr(item, form) or getattr(item, form) == ""]
        if len(given) != 1 or item.form not in scorer.forms:
            raise DataError(f"{file}:{number}  {scorer.name} takes {wanted}; got {' and '.join(given) or 'no words'}.")
        if missing := _missing(item):
            raise DataError(f"{file}:{number}  {missing}; {scorer.name} takes {wanted}.")
        items.append(item)
    return items


def _missing(item: Item) -> str:
    """What the form lacks: without the person's words no risk can be seen, and none seen is not none there."""
    if item.form == "text":
        return "a text has no context" if item.context else ""
    turns = item.context if item.form == "reply" else item.dialogue
    return "" if any(turn.role == "user" for turn in turns) else "no user turn stands in it"


@app.command()
@ends_clearly
def calibrate(
    labels: Annotated[Path, typer.Option("--labels", help="The folder that holds public labelled sets.")] = NO_LABELS,
    only: Annotated[list[str] | None, typer.Option("--only", help="A scorer by name; may be given again.")] = None,
    params: ParamsFile = PARAMS_FILE,
) -> None:
    """Hold the declared scorers against people's labels and write their cards to data/cards.

    Sets that are not under LABELS are named and left out; what the same version of a scorer has shown on them before is
    kept. docs: data/cards/README.md says which sets there are and how their folders are named.
    """
    scorers = declared_scorers(load(params))
    if unknown := [name for name in only or () if name not in scorers]:
        raise DataError(f"no scorer '{unknown[0]}' is declared; declared: {', '.join(scorers)}"
                        f"{nearest(unknown[0], scorers)}")
    for scorer in (one for name, one in scorers.items() if name in (only or scorers)):
        made = card(scorer, labels=labels, known=shipped_card(scorer, CARDS), timed=True)
        CARDS.mkdir(parents=True, exist_ok=True)
        write_json(card_path(scorer, CARDS), made)
        print(_card_lines(made))
        absent = [name for name in PLANS[scorer.kind].sets if not SETS[name].present(labels)]
        if absent:
            print(f"  not under {labels}: {', '.join(absent)}", file=sys.stderr)


def _card_lines(made: ScorerCard) -> str:
    """A scorer's card in a terminal: a line a set."""
    speed = f", {made.items_per_s:.0f} items/s" if made.items_per_s else ""
    lines = [f"{made.scorer} {made.version}{speed}"]
    for one in made.measured:
        told = [f"{name} {found.value:.3f} ({found.low:.2f} to {found.high:.2f})"
                for name, found in (("AUC", one.auc), ("recall", one.recall), ("false alarms", one.false_alarms),
                                    ("accuracy", one.accuracy), ("kappa", one.kappa), ("macro-F1", one.macro_f1))
                if found is not None]
        lines.append(f"  {one.set:20} n {one.n:5}  positive {one.prevalence:4.0%}  {', '.join(told)}")
    return "\n".join(lines)


@app.command()
@ends_clearly
def gate(
    enforce: Annotated[bool, typer.Option("--enforce", help="Exit 1 when the verdict is not passed.")] = False,
) -> None:
    """Show the verdict of the last run, the numbers that matter, and where to look next.

    Today's date is held against the days for which the verdict was made: when a helpline has grown stale since, it
    has expired.
    """
    params, today = load(), date.today()
    verdict = read_verdict(params)
    print(_page(verdict, params.report, today))
    if enforce and (not verdict.passed or verdict.expired(today)):
        sys.exit(1)


def _page(verdict: Verdict, report: Report, today: date) -> str:
    """The last page of `make repro`: the verdict and its reasons, three numbers, the next command."""
    held = sum(rule.passed for rule in verdict.rules)
    numbers: dict[str, float | None] = json.loads(HEADLINE.read_text(encoding="utf-8")) if HEADLINE.exists() else {}
    head = "NOT PASSED: this model must not be released"
    if verdict.passed:
        head = "PASSED"
        if verdict.valid_from and today < verdict.valid_from:
            head = f"NOT YET VALID: made for {verdict.valid_from} (as_of of the rule helplines)"
        elif verdict.expired(today):
            head = "EXPIRED: verify the helplines again"
    lines = ["", f"  Verdict: {head} ({held} of {len(verdict.rules)} rules hold)", ""]
    for rule in verdict.rules:
        lines += [f"    {'holds' if rule.passed else 'FAILS'}  {rule.name}", f"           {rule.because}"]
    lines += ["", "  The numbers that matter:"]
    for name, one in list(report.headline.items())[:SHOWN_NUMBERS]:
        value = "not scored" if (number := numbers.get(name)) is None else f"{number:.3f}"
        what = f"share that is {' or '.join(one.labels)}" if one.labels else "mean"
        lines.append(f"    {name:10} {value:>10}   {what}, of replies to '{one.suite}' by {one.scorer}")
    lines += ["",
              "  Read what happened:  make dashboard      (the replies themselves, base beside tuned)",
              "  The model card:      out/report/card.md",
              "  Change and compare:  dvc exp run -S train.lora.r=4   then   make compare", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    app()
