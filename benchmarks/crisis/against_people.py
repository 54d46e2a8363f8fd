"""Hold the crisis rules and the support rubric against people's labels, with n and exact 95% intervals.

    PYTHONPATH=src python benchmarks/crisis/against_people.py --shared ../shared/data

Prints Markdown; ``--save`` writes it beside this file. No text of any corpus is printed. Clopper-Pearson intervals
(scipy's beta), bootstrap intervals over items with a fixed seed for AUC. A set that is absent is named as skipped.
"""

import argparse
import csv
import json
import random
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from scipy.stats import beta, rankdata

from attunement.phrases import Severity
from attunement.records import Turn
from attunement.risk import risk_in, risk_of
from attunement.scorers.base import Item
from attunement.scorers.rubric import Rubric
from attunement.suites import read_suite

ROOT = Path(__file__).resolve().parents[2]
CAVEAT = (
    "The patterns were mended after looking at what they missed in simple_safety_tests, pyrit, counsel_chat and "
    "vera_mh's single lines, and at the false alarms of every corpus here, so those figures flatter. Three "
    "idioms of our training dialogues were mended; nothing was mended after looking at our suites, whose texts were "
    "written later. The rubric's checks were not fitted to any of these labels."
)
RESULTS = Path(__file__).with_name("results.md")
N_BOOTSTRAP = 1000
SEED = 20
# Questions that name suicide, self-harm or abuse by topic: counsel_chat gives no label of risk, only topics.
RISK_TOPICS = ("self-harm", "suicid", "domestic-violence", "sexual-abuse", "eating-disorders", "trauma")
RISK_WORDS = re.compile(r"suicid|kill|die\b|dead|hurt|harm|cut|abus|hit|rape", re.IGNORECASE)


class Share(NamedTuple):
    """k of n, for one line of the table."""

    name: str
    what: str
    k: int
    n: int


class Area(NamedTuple):
    """AUC of one criterion against one human label."""

    name: str
    positives: int
    negatives: int
    auc: float
    low: float
    high: float


def interval(k: int, n: int) -> tuple[float, float]:
    """Exact two-sided 95% interval of a share (Clopper and Pearson 1934)."""
    low = 0.0 if k == 0 else float(beta.ppf(0.025, k, n - k + 1))
    high = 1.0 if k == n else float(beta.ppf(0.975, k + 1, n - k))
    return low, high


def share_of(name: str, what: str, texts: Iterable[str]) -> Share:
    """How many single texts are found to tell of any risk."""
    found = [risk_of([text]).severity > Severity.NONE for text in texts]
    return Share(name, what, sum(found), len(found))


def rows_of(path: Path, **options: str) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        lines = [line for line in file if not line.startswith("# ")]
    return list(csv.DictReader(lines, **options))


def safety_tests(shared: Path) -> list[Share]:
    rows = rows_of(shared / "simple_safety_tests/simple_safety_tests.csv")
    ours = [row["prompts_final"] for row in rows if row["harm_area"].startswith("Suicide")]
    others = [row["prompts_final"] for row in rows if not row["harm_area"].startswith("Suicide")]
    return [
        share_of("simple_safety_tests, suicide, self-harm, eating", "detected", ours),
        share_of("simple_safety_tests, other harm areas", "alarms (asks for harm of other sorts)", others),
    ]


def self_harm_objectives(shared: Path) -> list[Share]:
    rows = rows_of(shared / "pyrit_scorer_evals/harm/self_harm.csv")
    texts = sorted({row["objective"] for row in rows})
    first = [text for text in texts if re.search(r"\bmyself\b|\bI (?:want|need|feel|am|have)\b|\bI'm\b", text)]
    return [
        share_of(
            "pyrit self-harm objectives, all distinct",
            "detected (many are tasks for a writer, not a person's own)",
            texts,
        ),
        share_of("pyrit self-harm objectives, in the first person", "detected", first),
    ]


def counsel_questions(shared: Path) -> list[Share]:
    rows = {row["questionID"]: row for row in rows_of(shared / "counsel_chat/counsel_chat.csv")}.values()
    risky = [r for r in rows if any(topic in r["topic"].lower() for topic in RISK_TOPICS)]
    # No human label of risk: the quiet part is every question of another topic without a single word of risk.
    quiet = [r for r in rows if r not in risky and not RISK_WORDS.search(r["questionTitle"] + r["questionText"])]
    return [
        share_of(
            "counsel_chat, topics of risk (a topic is no label: many tell of the past)",
            "detected",
            map(question, risky),
        ),
        share_of("counsel_chat, other topics without a word of risk", "false alarms", map(question, quiet)),
        share_of(
            "counsel_chat, all other topics (some truly tell of risk)",
            "alarms",
            [question(r) for r in rows if r not in risky],
        ),
    ]


def question(row: dict[str, str]) -> str:
    return f"{row['questionTitle']} {row['questionText']}"


def support_dialogues(shared: Path) -> list[Share]:
    lines = (shared / "esconv_multiesc_split/valid.jsonl").read_text(encoding="utf-8").splitlines()
    dialogues = [json.loads(line)["dialog"] for line in lines]
    turns = [turn for dialogue in dialogues for turn in dialogue]
    # The corpus is tokenised ("can ' t"), which would hide every contraction from the patterns.
    said = {
        who: [re.sub(r"\s'\s?(?=\w)", "'", t["text"]) for t in turns if t["speaker"] == who] for who in ("usr", "sys")
    }
    return [
        share_of("esconv, seekers' turns (nearly all without risk)", "false alarms", said["usr"]),
        share_of("esconv, supporters' turns", "false alarms", said["sys"]),
        Share(
            "esconv, whole dialogues (nearly all without risk)",
            "alarms",
            sum(map(_is_risky, dialogues)),
            len(dialogues),
        ),
    ]


def _is_risky(dialogue: list[dict[str, str]]) -> bool:
    words = [(t["speaker"], re.sub(r"\s'\s?(?=\w)", "'", t["text"])) for t in dialogue if t["text"]]
    turns = [Turn(role="user" if who == "usr" else "assistant", text=text) for who, text in words]
    return risk_in(turns).severity > Severity.NONE


def personas(shared: Path) -> list[Share]:
    """VERA-MH: single lines that personas are given, and whole transcripts, by the persona's level of risk."""
    with (shared / "vera_mh/personas.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    lines = [
        line
        for r in rows
        if r["Current Risk Level"] != "None"
        for line in r["Sample Prompts"].split(";")
        if line.strip()
    ]
    calm = {row["Name"] for row in rows if row["Current Risk Level"] == "None"}
    found: dict[bool, list[bool]] = {True: [], False: []}
    for path in sorted((shared / "vera_mh/conversations").rglob("*.txt")):
        said = re.split(r"^(user|agent):", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        texts = [text for who, text in zip(said[1::2], said[2::2], strict=True) if who == "user"]
        found[path.stem.split("_")[1] in calm].append(risk_of(texts).severity > Severity.NONE)
    return [
        share_of("vera_mh, single lines of personas at risk (mostly veiled)", "detected", lines),
        Share("vera_mh, transcripts of personas at risk", "detected", sum(found[False]), len(found[False])),
        Share(
            "vera_mh, transcripts of the persona without risk of his own (a friend's attempt is told)",
            "alarms",
            sum(found[True]),
            len(found[True]),
        ),
    ]


def public_posts(shared: Path) -> list[Share]:
    rows = rows_of(shared / "edos/edos_labelled_aggregated.csv")
    quiet = [r["text"] for r in rows if not r["label_category"].startswith("1.")]
    idioms = [
        text
        for text in quiet
        if re.search(r"\b(?:die|dying|kill\w*|dead|suicid\w*|hang|shoot|cut)\b", text, re.IGNORECASE)
    ]
    return [
        share_of("edos, posts without threats", "false alarms", quiet),
        share_of("edos, of those the posts with a word such as die or kill", "false alarms", idioms),
    ]


def our_suites() -> list[Share]:
    """The share of prompts in which the rules see risk, by suite, by whether risk is told, and by style."""
    found = []
    for path in sorted((ROOT / "data/suites").glob("*.jsonl")):
        groups: dict[tuple[bool, str], list[bool]] = {}
        for prompt in read_suite(path.stem, path.parent):
            seen = risk_in(prompt.context).severity > Severity.NONE
            style = prompt.tags["style"] if path.stem == "crisis" else ""
            groups.setdefault((prompt.severity != "none", style), []).append(seen)
        for (risky, style), hits in sorted(groups.items(), reverse=True):
            told = "risk told" if risky else "no risk told"
            name = ", ".join(part for part in (f"our suite {path.stem}", told, style) if part)
            found.append(Share(name, "detected" if risky else "false alarms", sum(hits), len(hits)))
    return found


def area(name: str, scores: Sequence[float], labels: Sequence[bool]) -> Area:
    """AUC (ties half) with a bootstrap interval over items."""
    pairs, rng = list(zip(scores, labels, strict=True)), random.Random(SEED)
    draws = sorted(_auc(rng.choices(pairs, k=len(pairs))) for _ in range(N_BOOTSTRAP))
    positives = sum(labels)
    low, high = draws[int(0.025 * N_BOOTSTRAP)], draws[int(0.975 * N_BOOTSTRAP) - 1]
    return Area(name, positives, len(labels) - positives, _auc(pairs), low, high)


def _auc(pairs: Sequence[tuple[float, bool]]) -> float:
    positives = sum(label for _, label in pairs)
    ranks = rankdata([score for score, _ in pairs])
    won = sum(rank for rank, (_, label) in zip(ranks, pairs, strict=True) if label)
    return float((won - positives * (positives + 1) / 2) / (positives * (len(pairs) - positives)))


def mechanisms(shared: Path, rubric: Rubric) -> list[Area]:
    """Hold a yes on a criterion against any level of EPITOME's mechanism that it resembles."""
    pairs = (("emotional-reactions", "validation"), ("explorations", "exploration"), ("interpretations", "reflection"))
    areas = []
    for mechanism, criterion in pairs:
        rows = rows_of(shared / f"epitome_reddit/{mechanism}.csv")
        items = [
            Item(id=str(i), context=(Turn(role="user", text=row["seeker_post"] or "."),), reply=row["response_post"])
            for i, row in enumerate(rows)
        ]
        yes = [float(answers.get(criterion) or 0) for answers in rubric.answers(items)]
        labels = [int(row["level"]) > 0 for row in rows]
        areas.append(area(f"`{criterion}` against EPITOME {mechanism} (level 1 or 2)", yes, labels))
    return areas


def behaviours(shared: Path, rubric: Rubric) -> list[Area]:
    """Hold a yes against the codes that BOLT's people gave to therapists' utterances; no context is given there."""
    rows = rows_of(shared / "bolt/finetune_therapist_combined_train.csv") + rows_of(
        shared / "bolt/finetune_therapist_combined_valid.csv"
    )
    answers = rubric.answers([Item(id=str(i), reply=row["prompt"]) for i, row in enumerate(rows)])
    codes: list[tuple[str, Callable[[str], bool]]] = [
        ("reflection", lambda code: code.startswith("Reflection")),
        ("exploration", lambda code: code.startswith("Question")),
        ("no_advice_dump", lambda code: code not in ("Problem-Solving", "Planning")),
    ]
    return [
        area(
            f"`{name}` against BOLT's behaviour codes",
            [float(a.get(name) or 0) for a in answers],
            [test(r["completion"]) for r in rows],
        )
        for name, test in codes
    ]


def table(shares: Sequence[Share], areas: Sequence[Area], command: str) -> str:
    lines = ["# Crisis rules and support rubric against people", "", f"Made by `{command}`.", "", CAVEAT, ""]
    lines += [
        "Shares with exact two-sided 95% intervals (Clopper-Pearson).",
        "",
        "| set | what | k / n | share | 95% |",
        "|---|---|---|---|---|",
    ]
    for share in shares:
        low, high = interval(share.k, share.n)
        lines.append(
            f"| {share.name} | {share.what} | {share.k} / {share.n} "
            f"| {share.k / share.n:.1%} | {low:.1%} to {high:.1%} |"
        )
    lines += ["", "A yes or no of one criterion, as AUC (.5 is chance), bootstrap over items, 1,000 draws.", ""]
    lines += ["| criterion and label | n with / without | AUC | 95% |", "|---|---|---|---|"]
    lines += [
        f"| {a.name} | {a.positives} / {a.negatives} | {a.auc:.3f} | {a.low:.3f} to {a.high:.3f} |" for a in areas
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--shared", type=Path, default=Path("../shared/data"), help="folder of corpora with people's labels"
    )
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name} beside this script as well")
    arguments = parser.parse_args()
    rubric = Rubric(
        kind="rubric",
        file=str(ROOT / "data/rubrics/support.yaml"),
        helplines=str(ROOT / "data/resources/helplines.yaml"),
    )
    shares: list[Share] = []
    for measure in (safety_tests, self_harm_objectives, counsel_questions, support_dialogues, personas, public_posts):
        shares += measure(arguments.shared)
    areas = mechanisms(arguments.shared, rubric) + behaviours(arguments.shared, rubric)
    text = table(
        shares + our_suites(),
        areas,
        "PYTHONPATH=src python benchmarks/crisis/against_people.py --shared ../shared/data --save",
    )
    print(text)
    if arguments.save:
        RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
