"""Base against tuned: every scorer's mean with its interval, suite by suite, and lm-eval's benchmarks."""

from collections.abc import Sequence

import altair as alt
import streamlit as st

import load
import show
from attunement.records import Bench, ModelName, ScoreSummary

Pair = dict[ModelName, ScoreSummary]
INKS = ["#5b6770", "#1f5f8b"]  # base, tuned; each reaches 4.5:1 on white


def mean(found: ScoreSummary | None) -> str:
    """A mean is never shown without its interval, n, and what could not be scored."""
    if found is None:
        return "no replies"
    if found.n == 0:
        return f"asked of none of {found.n_not_asked} replies"
    scored = found.n - found.n_unscored
    if found.mean is None:
        return f"{show.NOT_SCORED} (0 of {found.n} replies)"
    interval = "no interval" if found.low is None or found.high is None else f"{found.low:.3f} to {found.high:.3f}"
    return f"{found.mean:.3f} ({interval}); n = {scored}, {found.n_unscored} {show.NOT_SCORED}"


def chart(scorer: str, pair: Pair) -> None:
    """Both means with their intervals on one axis that holds zero."""
    rows = [{"model": model, "mean": found.mean, "low": found.low, "high": found.high}
            for model, found in pair.items() if found.mean is not None]
    if not rows:
        st.caption(f"{show.plain(scorer)}: {show.NOT_SCORED} for either model.")
        return
    low = min([0.0, *(row["low"] for row in rows if row["low"] is not None)])
    high = max([1.0, *(row["high"] for row in rows if row["high"] is not None)])
    scale = alt.Scale(domain=[low, high], nice=True)
    base = alt.Chart(alt.Data(values=rows)).encode(
        y=alt.Y("model:N", title=None, sort=list(load.MODELS)),
        color=alt.Color("model:N", legend=None, scale=alt.Scale(range=INKS)))
    axis = alt.X("low:Q", title="mean score, with 95% interval", scale=scale)
    bars = base.mark_rule(strokeWidth=2).encode(x=axis, x2="high:Q")
    points = base.mark_point(size=90, filled=True, opacity=1).encode(
        x="mean:Q", shape=alt.Shape("model:N", legend=None), tooltip=["model:N", alt.Tooltip("mean:Q", format=".3f")])
    told = "; ".join(f"{model} {mean(pair.get(model))}" for model in load.MODELS)
    both = alt.layer(bars, points).properties(title=scorer, height=180)
    show.chart(both, alt=f"{scorer}: {told}.")


def scores(summaries: Sequence[ScoreSummary]) -> None:
    """One suite at a time: charts, the same as a table, and the labels."""
    st.header("Scores", anchor=False)
    suite = st.selectbox("Suite", sorted({one.suite for one in summaries}))
    pairs: dict[str, Pair] = {}
    for one in summaries:
        if one.suite == suite:
            pairs.setdefault(one.scorer, {})[one.model] = one
    columns = st.columns(2)
    for i, (scorer, pair) in enumerate(pairs.items()):
        with columns[i % 2]:
            chart(scorer, pair)
    show.table([{"Scorer": scorer, "Base": mean(pair.get("base")), "Tuned": mean(pair.get("tuned"))}
                for scorer, pair in pairs.items()],
               "Mean score of each scorer with its 95% interval, the number of scored replies, and how many could not "
               "be scored. Whether higher is better depends on the scorer: of toxicity, lower is. Two intervals may "
               "overlap and the models still differ: the gate compares them prompt by prompt.")
    labels(pairs)


def labels(pairs: dict[str, Pair]) -> None:
    """How many replies carry each label."""
    rows: list[dict[str, object]] = []
    for scorer, pair in pairs.items():
        for label in sorted({label for found in pair.values() for label in found.labels}):
            rows.append({"Scorer": scorer, "Label": label,
                         **{model.capitalize(): counted(pair.get(model), label) for model in load.MODELS}})
    if rows:
        show.table(rows, "How many replies each scorer gave each label, of all replies to the suite.")


def counted(found: ScoreSummary | None, label: str) -> str:
    """How many replies carry a label."""
    return "no replies" if found is None else f"{found.labels.get(label, 0)} of {found.n}"


def benchmarks(results: dict[ModelName, Sequence[Bench]]) -> None:
    """lm-eval's metrics, base beside tuned."""
    st.header("Benchmarks", anchor=False)
    by_metric: dict[tuple[str, str, str], dict[ModelName, Bench]] = {}
    for model, found in results.items():
        for one in found:
            by_metric.setdefault((one.task, one.version, one.metric), {})[model] = one
    show.table([{"Metric": f"{task} {metric} (version {version})",
                 **{model.capitalize(): measured(pair.get(model)) for model in load.MODELS}}
                for (task, version, metric), pair in sorted(by_metric.items())],
               "Each metric of lm-evaluation-harness with its standard error and the number of items.")


def measured(one: Bench | None) -> str:
    """A metric with its spread."""
    if one is None or one.value is None:
        return "not measured"
    spread = f"± {one.stderr:.3f}" if one.stderr is not None else "(no standard error given)"
    return f"{one.value:.3f} {spread}; n = {one.n}"


st.title("Base against tuned", anchor=False)
with show.explained():
    scores(load.records(load.OUT / "score/summary.jsonl", ScoreSummary))
with show.explained():
    benchmarks({model: load.records(load.OUT / f"bench/{model}/bench.jsonl", Bench) for model in load.MODELS})
