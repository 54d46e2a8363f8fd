"""Hold our statistics of judges against MentalAlign-70k: people and two language models rated the same replies.

    PYTHONPATH=src python benchmarks/judges/mentalalign.py --labels ../shared/data

In: FOLDER/mentalalign_70k as published (github.com/abeerbadawi/MentalBench-Align, MIT): three tables of 1,000
conversations by ten responders, each cell seven ratings of 1 to 5. Out: Markdown tables on the screen.

First the published means, biases and intraclass correlations are recomputed: that shows that files, filter and formulas
are understood. Then 5% of the replies count as rated by people and the rest by the judge alone, many times over: how
often do the intervals of ``attunement.stats`` hold people's mean, or rate, of all replies? The tables also hold what
people in need wrote and the judges' remarks. This script reads ratings alone, and prints no text.
"""

import argparse
import re
import zipfile
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from scipy import stats

from attunement.stats import Interval, corrected_rate, intraclass_correlation, prediction_powered_mean, rate_interval

ATTRIBUTES = ("Guidance", "Informativeness", "Relevance", "Safety", "Empathy", "Helpfulness", "Understanding")
RATINGS = (1, 5)  # the published scale; people's table also holds 0 and 6
YES = 4  # a rating from here on counts as yes
RATED_FRAC = 0.05  # of the replies that people rate
RESAMPLES = 500  # the error of a coverage near 95% is 1%
CONFIDENCE = 0.95
SEED = 70
SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
Table = np.ndarray


class Judge(NamedTuple):
    """A judge, its file, and the responder that is the same model's: it is left out, as published."""

    name: str
    file: str
    own: str
    place: int  # of its column in the published table of biases


JUDGES = (
    Judge("Claude-3.7-Sonnet", "claude_llm_judge.xlsx", "claude", 0),
    Judge("GPT-4o", "gpt-4o_llm_judge.xlsx", "gpt4o", 1),
)


class Pairs(NamedTuple):
    """Ratings of one attribute by people and by a judge, for replies that both rated."""

    human: Table
    judge: Table
    conversation: Table
    responder: Table


class Figures(NamedTuple):
    """What the publication gives for one judge and attribute."""

    human: float
    judge: float
    bias: float
    mse: float
    consistency: float
    agreement: float


class Trial(NamedTuple):
    """One draw: did the interval hold the truth, and how wide was it? NaN where there was no interval."""

    covered: float
    width: float


# Reading


def sheet_rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a workbook's first sheet, from column letter to text; a workbook is a zip of XML (ECMA-376)."""
    with zipfile.ZipFile(path) as file:
        shared = ElementTree.fromstring(file.read("xl/sharedStrings.xml"))  # noqa: S314  # expat ≥ 2.4 bounds entities
        sheet = ElementTree.fromstring(file.read("xl/worksheets/sheet1.xml"))  # noqa: S314  # as above
    texts = ["".join(part.text or "" for part in one.iter(f"{SHEET}t")) for one in shared]
    for row in sheet.iter(f"{SHEET}row"):
        found = {}
        for cell in row.iter(f"{SHEET}c"):
            value = cell.findtext(f"{SHEET}v")
            if value is not None:
                found[cell.get("r", "").rstrip("0123456789")] = texts[int(value)] if cell.get("t") == "s" else value
        yield found


def read_ratings(path: Path) -> tuple[list[str], Table]:
    """Responders, and ratings (conversation, responder, attribute); NaN where a cell holds no number for it."""
    header, *rows = sheet_rows(path)
    columns = [letter for letter, name in header.items() if "_response_" in name]
    numbers = [row["A"] for row in rows]
    if numbers != [str(number) for number in range(1, len(rows) + 1)]:
        raise SystemExit(f"{path.name}: expected conversations 1, 2, 3 and so on; the tables cannot be joined by row")
    table = np.array([[_cell(row.get(letter, "")) for letter in columns] for row in rows])
    return [header[letter].split("_response_")[1] for letter in columns], table


def _cell(text: str) -> list[float]:
    """The seven ratings of a reply; two judges' cells are cut off or fenced, so they are not read as JSON."""
    found = {name: float(number) for name, number in re.findall(r'"(\w+)"\s*:\s*(\d+)\b', text)}
    return [found.get(name, float("nan")) for name in ATTRIBUTES]


def read_published(folder: Path) -> dict[tuple[str, str], Figures]:
    """The published figures, by judge and attribute."""
    rows = [line.split("|")[1:-1] for line in (folder / "Systematic_Bias.md").read_text("utf-8").splitlines()]
    bias = {row[0].strip(): row[1:] for row in rows if len(row) == 5 and "→" in row[1]}
    found, judge = {}, ""
    for line in (folder / "ICC_Reliability_Analysis.md").read_text("utf-8").splitlines():
        row = [cell.strip(" *") for cell in line.split("|")[1:-1]]
        if len(row) != 8 or row[2] not in ATTRIBUTES:
            continue
        judge = row[0] or judge
        for one in JUDGES:
            if one.name == judge:
                means = [float(part) for part in bias[row[2]][one.place].replace("−", "-").split("→")]
                found[judge, row[2]] = Figures(*means, float(row[3]), float(row[5]))
    return found


# The published tables


def paired(human: Table, judge: Table, attribute: int, left_out: int, *, on_scale: bool) -> Pairs:
    """Replies with a rating by both, without the judge's own; ``on_scale`` drops people's ratings of 0 and 6 too."""
    ours, theirs = np.delete(human, left_out, axis=1), np.delete(judge, left_out, axis=1)
    whole = np.isfinite(ours).all(axis=2) & np.isfinite(theirs).all(axis=2)
    if on_scale:
        whole &= ((ours >= RATINGS[0]) & (ours <= RATINGS[1])).all(axis=2)
    conversation, responder = np.nonzero(whole)
    return Pairs(ours[..., attribute][whole], theirs[..., attribute][whole], conversation, responder)


def every_pair(human: Table, judge: Table, left_out: int, *, on_scale: bool) -> list[Pairs]:
    """The pairs of each attribute, in their order."""
    return [paired(human, judge, place, left_out, on_scale=on_scale) for place in range(len(ATTRIBUTES))]


def by_conversation(pairs: Pairs) -> Pairs:
    """One pair a conversation: the means of its replies' ratings; the responder is no more."""
    counts = np.bincount(pairs.conversation)
    kept = np.flatnonzero(counts)
    human, judge = (np.bincount(pairs.conversation, one)[kept] / counts[kept] for one in (pairs.human, pairs.judge))
    return Pairs(human, judge, kept, np.zeros(len(kept), dtype=int))


def recomputed(pairs: Pairs) -> Figures:
    """What the publication gives, from ratings; correlations of the responders' mean ratings."""
    difference = pairs.judge - pairs.human
    return Figures(float(pairs.human.mean()), float(pairs.judge.mean()), float(difference.mean()),
                   float((difference**2).mean()), *correlations(pairs, "responders"))


def correlations(pairs: Pairs, unit: str) -> tuple[float, float]:
    """ICC(C,1) and ICC(A,1) of people and judge over replies, or over means by conversation or responder."""
    if unit == "replies":
        return intraclass_correlation(np.column_stack([pairs.human, pairs.judge]))
    means = by_conversation(pairs if unit == "conversations" else pairs._replace(conversation=pairs.responder))
    return intraclass_correlation(np.column_stack([means.human, means.judge]))


def averaged(single: float) -> float:
    """Reliability of the mean of the two raters, from that of one (Spearman-Brown)."""
    return 2 * single / (1 + single)


# Draws


def mean_trials(pairs: Pairs, *, whole_conversations: bool) -> tuple[list[Trial], list[Trial]]:
    """Prediction-powered intervals of people's mean, and Student's of the rated replies alone."""
    truth, generator = pairs.human.mean(), np.random.default_rng(SEED)
    powered, alone = [], []
    for _ in range(RESAMPLES):
        rated = _drawn(pairs, generator, whole_conversations=whole_conversations)
        human = pairs.human[rated]
        powered.append(_trial(prediction_powered_mean(pairs.judge[~rated], human, pairs.judge[rated],
                                                      confidence=CONFIDENCE), truth))
        half = stats.t.ppf((1 + CONFIDENCE) / 2, len(human) - 1) * human.std(ddof=1) / len(human) ** 0.5
        alone.append(_trial(Interval(human.mean(), human.mean() - half, human.mean() + half), truth))
    return powered, alone


def rate_trials(pairs: Pairs) -> tuple[list[Trial], list[Trial], list[Trial]]:
    """Rogan-Gladen and prediction-powered intervals of people's rate of yes, and exact ones of the rated alone."""
    human, judge = pairs.human >= YES, pairs.judge >= YES
    truth, generator = human.mean(), np.random.default_rng(SEED)
    corrected, powered, alone = [], [], []
    for _ in range(RESAMPLES):
        rated = _drawn(pairs, generator, whole_conversations=False)
        corrected.append(_trial(_corrected(human[rated], judge[rated], judge[~rated]), truth))
        powered.append(_trial(prediction_powered_mean(judge[~rated], human[rated], judge[rated],
                                                      confidence=CONFIDENCE), truth))
        alone.append(_trial(_rate(human[rated]), truth))
    return corrected, powered, alone


def _drawn(pairs: Pairs, generator: np.random.Generator, *, whole_conversations: bool) -> Table:
    """Which replies people rate: a share of all replies, or all replies of a share of the conversations."""
    units = pairs.conversation if whole_conversations else np.arange(len(pairs.human))
    n = int(units.max()) + 1
    chosen = np.zeros(n, dtype=bool)
    chosen[generator.choice(n, round(RATED_FRAC * n), replace=False)] = True
    return chosen[units]


def _corrected(human: Table, judge: Table, judged: Table) -> Interval | None:
    """The judge's rate on the rest, corrected by its errors on what people rated."""
    sensitivity, specificity = _rate(judge[human]), _rate(~judge[~human])
    if sensitivity is None or specificity is None:
        return None
    return corrected_rate(float(judged.mean()), n_judged=len(judged), sensitivity=sensitivity, specificity=specificity,
                          n_positive=int(human.sum()), n_negative=int((~human).sum()), confidence=CONFIDENCE)


def _rate(hits: Table) -> Interval | None:
    return rate_interval(int(hits.sum()), len(hits), confidence=CONFIDENCE)


def _trial(interval: Interval | None, truth: float) -> Trial:
    if interval is None:
        return Trial(float("nan"), float("nan"))
    return Trial(float(interval.low <= truth <= interval.high), interval.high - interval.low)


def coverage(trials: Sequence[Trial]) -> float:
    """Share of all draws whose interval held the truth; a draw without an interval did not."""
    return float(np.mean([one.covered == 1 for one in trials]))


def width(trials: Sequence[Trial]) -> float:
    """Mean width of the intervals that there were."""
    return float(np.nanmean([one.width for one in trials]))


# Tables


def line(*cells: str) -> str:
    """One row of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def header(*names: str) -> tuple[str, str]:
    """The two rows that open a Markdown table."""
    return line(*names), "|" + "---|" * len(names)


def cells_table(human: Table) -> list[str]:
    """What people's table holds beside ratings of the scale, with counts."""
    absent, zero = np.isnan(human).sum(axis=2), (human == 0).all(axis=2)
    some = (absent > 0) & (absent < len(ATTRIBUTES))
    return [f"People's table: {human.shape[0]} conversations by {human.shape[1]} responders. Replies without any "
            f"rating: {(absent == len(ATTRIBUTES)).sum()}; with some: {some.sum()}; rated 0 on all seven: "
            f"{zero.sum()}; ratings of 6: {(human == 6).sum()}.", ""]


def published_table(name: str, pairs: Sequence[Pairs], published: dict[tuple[str, str], Figures]) -> list[str]:
    """Ours / published, and the largest difference of each column."""
    lines = [f"{name} (n = {len(pairs[0].human)} replies), ours / published:", "",
             *header("attribute", "people's mean", "judge's mean", "bias", "MSE", "ICC(C,1)", "ICC(A,1)")]
    apart = []
    for attribute, one in zip(ATTRIBUTES, pairs, strict=True):
        ours, theirs = recomputed(one), published[name, attribute]
        apart.append(np.abs(np.subtract(ours, theirs)))
        lines.append(line(attribute, *(f"{a:.3f} / {b:.3f}" for a, b in zip(ours, theirs, strict=True))))
    return [*lines, line("largest difference", *(f"{one:.4f}" for one in np.max(apart, axis=0))), ""]


def forms_table(human: Table, judges: dict[str, Table], responders: list[str],
                published: dict[tuple[str, str], Figures]) -> list[str]:
    """How far each form of the correlation is from the published one, at most over judges and attributes."""
    lines = [*header("over", "raters", "people's 0 and 6", "largest difference of ICC(C)", "of ICC(A)")]
    for unit, average, on_scale in product(("responders", "conversations", "replies"), (False, True), (False, True)):
        apart = []
        for judge in JUDGES:
            pairs = every_pair(human, judges[judge.name], responders.index(judge.own), on_scale=on_scale)
            for attribute, one in zip(ATTRIBUTES, pairs, strict=True):
                theirs = published[judge.name, attribute]
                ours = [averaged(single) if average else single for single in correlations(one, unit)]
                apart.append(np.abs(np.subtract(ours, (theirs.consistency, theirs.agreement))))
        consistency, agreement = np.max(apart, axis=0)
        lines.append(line(unit, "both, averaged" if average else "single", "left out" if on_scale else "kept",
                          f"{consistency:.3f}", f"{agreement:.3f}"))
    return [*lines, ""]


def means_table(name: str, pairs: Sequence[Pairs]) -> list[str]:
    """Coverage and width of the prediction-powered mean."""
    lines = [f"{name}, n = {len(pairs[0].human)} replies:", "",
             *header("attribute", "people's mean", "judge alone errs by", "ICC(C,1), ICC(A,1) of replies", "PPI covers",
                     "width", "beside people alone (who cover)", "conversations drawn whole: PPI over replies covers",
                     "over conversations' means covers")]
    for attribute, one in zip(ATTRIBUTES, pairs, strict=True):
        powered, alone = mean_trials(one, whole_conversations=False)
        clustered, _ = mean_trials(one, whole_conversations=True)
        means, _ = mean_trials(by_conversation(one), whole_conversations=True)
        consistency, agreement = correlations(one, "replies")
        lines.append(line(attribute, f"{one.human.mean():.3f}", f"{one.judge.mean() - one.human.mean():+.3f}",
                          f"{consistency:.2f}, {agreement:.2f}", f"{coverage(powered):.1%}", f"{width(powered):.3f}",
                          f"{width(powered) / width(alone):.2f} ({coverage(alone):.1%})", f"{coverage(clustered):.1%}",
                          f"{coverage(means):.1%}"))
    return [*lines, ""]


def rates_table(name: str, pairs: Sequence[Pairs]) -> list[str]:
    """Coverage and width of corrected rates."""
    lines = [f"{name}, rating of {YES} or more:", "",
             *header("attribute", "people's yes", "judge alone errs by", "sensitivity", "specificity",
                     "Rogan-Gladen covers", "draws without interval", "width", "beside people alone (who cover)",
                     "PPI covers", "beside people alone")]
    for attribute, one in zip(ATTRIBUTES, pairs, strict=True):
        corrected, powered, alone = rate_trials(one)
        human, judge = one.human >= YES, one.judge >= YES
        none = sum(np.isnan(trial.width) for trial in corrected)
        lines.append(line(attribute, f"{human.mean():.1%}", f"{judge.mean() - human.mean():+.1%}",
                          f"{judge[human].mean():.2f}", f"{(~judge[~human]).mean():.2f}", f"{coverage(corrected):.1%}",
                          f"{none}", f"{width(corrected):.3f}",
                          f"{width(corrected) / width(alone):.2f} ({coverage(alone):.1%})", f"{coverage(powered):.1%}",
                          f"{width(powered) / width(alone):.2f}"))
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=Path, required=True, help="folder that holds mentalalign_70k")
    folder = parser.parse_args().labels / "mentalalign_70k"
    responders, human = read_ratings(folder / "Human_judge.xlsx")
    judges = {}
    for judge in JUDGES:
        names, judges[judge.name] = read_ratings(folder / judge.file)
        if names != responders:
            raise SystemExit(f"{judge.file}: expected the responders {responders}, got {names}")
    published = read_published(folder)
    kept, scaled = ({judge.name: every_pair(human, judges[judge.name], responders.index(judge.own), on_scale=on_scale)
                     for judge in JUDGES} for on_scale in (False, True))
    print("\n".join(["## The published tables", "", *cells_table(human)]))
    for judge in JUDGES:
        print("\n".join(published_table(judge.name, kept[judge.name], published)))
    print("\n".join(["## Which form of the correlation", "", *forms_table(human, judges, responders, published)]))
    for title, table in (("Means", means_table), ("Rates", rates_table)):
        print(f"## {title}\n")
        for judge in JUDGES:
            print("\n".join(table(judge.name, scaled[judge.name])))


if __name__ == "__main__":
    main()
