"""Training: loss over steps, and what the toxicity probe found at every checkpoint, down to its replies."""

from collections.abc import Sequence

import altair as alt
import streamlit as st

import load
import show
from attunement.records import Candidate, CheckpointSummary, Probe, Selection, StepLog

TRAINED = load.OUT / "train"
STEP = alt.X("step:Q", title="optimiser step", axis=alt.Axis(tickMinStep=1))
LEGEND = alt.Legend(title=None, orient="top", columns=1, labelLimit=300, symbolStrokeWidth=0)
TRAINING, VALIDATION = "training: a line, each step", "validation: with points, each checkpoint"
INKS = ["#1f5f8b", "#a8480f", "#44651f", "#6b3fa0"]  # each reaches 4.5:1 on white


def chart(rows: Sequence[dict[str, object]], y: alt.Y, *, title: str, chosen: int) -> alt.LayerChart:
    """Lines told apart by dash and shape as well as by colour, a point per checkpoint, the selected one marked."""
    names = list(dict.fromkeys(str(row["series"]) for row in rows))
    dash = alt.StrokeDash("series:N", legend=None, scale=alt.Scale(domain=names))
    shape = alt.Shape("series:N", legend=LEGEND, scale=alt.Scale(domain=names))
    color = alt.Color("series:N", legend=LEGEND, scale=alt.Scale(domain=names, range=INKS))
    base = alt.Chart(alt.Data(values=list(rows))).encode(x=STEP, y=y, color=color)
    lines = base.mark_line().encode(strokeDash=dash)
    points = base.transform_filter("datum.checkpoint").mark_point(size=70, filled=True, opacity=1).encode(shape=shape)
    mark = alt.Chart(alt.Data(values=[{"step": chosen, "what": f"selected: step {chosen}"}])).encode(x="step:Q")
    text = mark.mark_text(align="right", dx=-5, baseline="top").encode(text="what:N", y=alt.value(2))
    layers = alt.layer(lines, points, mark.mark_rule(strokeDash=[2, 2]), text)
    return layers.properties(title=title, height=360)


def losses(steps: Sequence[StepLog], history: Sequence[CheckpointSummary], chosen: Selection) -> None:
    """Training loss per step and validation loss per checkpoint."""
    st.header("Loss", anchor=False)
    rows: list[dict[str, object]] = []
    rows += [{"step": s.step, "loss": s.loss, "series": TRAINING, "checkpoint": False} for s in steps]
    rows += [{"step": c.step, "loss": c.val_loss, "series": VALIDATION, "checkpoint": True} for c in history]
    y = alt.Y("loss:Q", title="mean loss (nats per token)", scale=alt.Scale(zero=False))
    show.chart(chart(rows, y, title="Loss over training", chosen=chosen.step),
               alt="Loss over optimiser steps; the same numbers stand in the tables below.")
    by_step = {candidate.step: candidate for candidate in chosen.candidates}
    show.table([checkpoint_row(point, by_step.get(point.step), chosen) for point in history],
               "Each checkpoint: mean loss in nats per supervised token, and what the probe found. A reply counts as "
               "toxic when any scorer calls it so.")
    with st.expander("Numbers of every step"):
        st.dataframe([step.model_dump() for step in steps], hide_index=True,
                     alt="Loss, learning rate, gradient norm and supervised tokens of every optimiser step.")


def checkpoint_row(point: CheckpointSummary, found: Candidate | None, chosen: Selection) -> dict[str, object]:
    """A checkpoint as a line of the table."""
    verdict = "not considered" if found is None else "could be selected" if found.eligible else "could NOT be selected"
    told = "no probe"
    if found is not None:
        told = f"{found.n_toxic} of {found.n_replies} toxic, {found.n_unscored} {show.NOT_SCORED}"
    return {
        "Step": point.step,
        "Training loss": show.number(point.train_loss),
        "Validation loss": show.number(point.val_loss),
        "Probe": told,
        "Selection": f"SELECTED ({verdict})" if point.step == chosen.step else verdict,
    }


def probed(probes: Sequence[Probe], chosen: Selection) -> None:
    """The probe over checkpoints: the highest score and the number of toxic replies, per scorer."""
    st.header("Toxicity probe", anchor=False)
    groups: dict[tuple[int, str], list[Probe]] = {}
    for probe in probes:
        groups.setdefault((probe.step, probe.scorer), []).append(probe)
    rows: list[dict[str, object]] = []
    for (step, scorer), group in sorted(groups.items()):
        values = [probe.value for probe in group if probe.value is not None]
        rows.append({"step": step, "series": scorer, "checkpoint": True, "highest": max(values, default=None),
                     "toxic": sum(probe.label == "toxic" for probe in group), "n": len(group),
                     "unscored": len(group) - len(values)})
    highest = alt.Y("highest:Q", title="highest toxicity (0 to 1)", scale=alt.Scale(domain=[0, 1]))
    toxic = alt.Y("toxic:Q", title="toxic replies (number)", axis=alt.Axis(tickMinStep=1, format="d"),
                  scale=alt.Scale(domain=[0, max([1, *(int(str(row["toxic"])) for row in rows)])]))
    left, right = st.columns(2)
    with left:
        show.chart(chart(rows, highest, title="Highest toxicity of any reply", chosen=chosen.step),
                   alt="Highest toxicity at each checkpoint, by scorer; the numbers stand in the table below.")
    with right:
        show.chart(chart(rows, toxic, title="Replies called toxic", chosen=chosen.step),
                   alt="Number of toxic replies at each checkpoint, by scorer; the numbers stand in the table below.")
    show.table([{"Step": f"{row['step']}{' (selected)' if row['step'] == chosen.step else ''}", "Scorer": row["series"],
                 "Highest toxicity": show.NOT_SCORED if row["highest"] is None else f"{row['highest']:.3f}",
                 "Toxic": f"{row['toxic']} of {row['n']}", "Not scored": row["unscored"]} for row in rows],
               "What each toxicity scorer found at each checkpoint. Low toxicity is not safety: harmful advice in kind "
               "words scores low.")


def replies(probes: Sequence[Probe], chosen: Selection) -> None:
    """What the model said to the probe at one checkpoint, highest toxicity first, the unscored before all."""
    st.header("The probe's replies", anchor=False)
    st.caption(show.HARD)
    steps = sorted({probe.step for probe in probes})
    at = steps.index(chosen.step) if chosen.step in steps else 0
    step = st.selectbox("Checkpoint (optimiser step)", steps, index=at)
    found: dict[tuple[str, str], list[Probe]] = {}
    for probe in probes:
        if probe.step == step:
            found.setdefault((probe.suite, probe.prompt_id), []).append(probe)
    ordered = sorted(found.items(), key=lambda pair: -max(1.1 if p.value is None else p.value for p in pair[1]))
    for i in show.page_of(len(ordered), "Replies", key=f"probe-{step}", size=5):
        (suite, prompt_id), scored = ordered[i]
        with st.container(border=True):
            st.markdown("**Person**")
            show.said(load.prompts(suite)[prompt_id].context[-1].text)
            st.markdown("**Model**")
            show.said(scored[0].reply)
            for one in scored:
                told = f"{one.scorer}: {show.number(one.value)}, {one.label or 'no label'}. {one.because}"
                st.caption(show.plain(told))


st.title("Training", anchor=False)
with show.explained():
    selected = load.selection()
    history_found = load.records(TRAINED / "history.jsonl", CheckpointSummary)
    losses(load.records(TRAINED / "steps.jsonl", StepLog), history_found, selected)
    probes_found = load.records(TRAINED / "probes.jsonl", Probe)
    probed(probes_found, selected)
    replies(probes_found, selected)
