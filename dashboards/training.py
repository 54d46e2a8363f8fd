"""Training: how it ended, loss over steps, and what the toxicity probe found at every checkpoint, down to its replies.

Checkpoints are not asked the same number of prompts, so nothing here compares numbers of toxic replies: shares stand
with their exact upper bound, and highest values are taken over the prompts that every checkpoint was asked.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import streamlit as st

import load
import show
from attunement.findings import breach, count_replies
from attunement.records import (
    Candidate,
    CheckpointSummary,
    Probe,
    Selection,
    StepLog,
    TrainingRow,
    TrainingSummary,
)
from attunement.stats import upper_bound

TRAINED = load.OUT / "train"
POINTS = 500  # of a line: more than a chart has pixels to tell apart
STEP = alt.X("step:Q", title="optimiser step", axis=alt.Axis(tickMinStep=1))
LEGEND = alt.Legend(title=None, orient="top", columns=1, labelLimit=300, symbolStrokeWidth=0)
TRAINING, SINCE = "training: a thin line, each step", "training: with points, mean since the checkpoint before"
VALIDATION = "validation: with points, each checkpoint"
SHARE, BOUND = "toxic share of the replies", "upper bound of the true share"
INKS = ["#1f5f8b", "#a8480f", "#44651f", "#6b3fa0"]  # each reaches 4.5:1 on white
MARKS = "The dotted upright line marks the selected checkpoint; a cross at the foot marks one that broke the probe."


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint with what its probe found.

    ``upper_bound`` is of the share of toxic replies, each unscored one taken for toxic; ``breach`` says in words what
    broke zero tolerance, and nothing where nothing did.
    """

    point: CheckpointSummary
    n_replies: int
    n_toxic: int
    n_unscored: int
    upper_bound: float
    breach: str
    candidate: Candidate | None
    is_selected: bool

    @property
    def step(self) -> int:
        """The optimiser step after which it was made."""
        return self.point.step

    @property
    def told(self) -> str:
        """The step, and in words what is special about it."""
        return f"{self.step}{' (selected)' if self.is_selected else ''}{' BREACHED' if self.breach else ''}"


def joined(history: Sequence[CheckpointSummary], probes: Sequence[Probe], chosen: Selection) -> list[Checkpoint]:
    """History, probes and selection by checkpoint; weights that are gone change nothing."""
    confidence, candidates = load.confidence(), {candidate.step: candidate for candidate in chosen.candidates}
    found = []
    for point in history:
        own = [probe for probe in probes if probe.step == point.step]
        n, toxic, unscored = count_replies(own)
        found.append(Checkpoint(point, n, toxic, unscored, upper_bound(toxic + unscored, n, confidence=confidence),
                                breach(own), candidates.get(point.step), point.step == chosen.step))
    return found


def ended(summary: TrainingSummary, steps: Sequence[StepLog], rows: Sequence[TrainingRow]) -> None:
    """How far training went and why it stopped there; how much was learnt from, cut and left out."""
    st.header("How training ended", anchor=False)
    if summary.n_steps == summary.n_planned_steps:
        st.markdown(f"Training **went to its end**: {summary.n_steps} of {summary.n_planned_steps} planned steps.")
    else:
        why = show.plain(summary.stopped_because or "no reason was recorded")
        st.warning(f"Training **stopped early**, at step {summary.n_steps} of {summary.n_planned_steps} planned: {why}."
                   " The checkpoint at the planned end, which answers the probe's whole sample, was never made.")
    n_tokens = sum(step.n_target_tokens for step in steps)
    st.markdown(f"{show.count(summary.n_dialogues, 'dialogue')} learnt from; {summary.n_val_dialogues} gave the "
                f"validation loss; {summary.n_cut} cut to their last turns; {summary.n_left_out} left out. In all "
                f"{n_tokens:,} tokens of replies were learnt from, about {n_tokens / max(1, len(steps)):,.0f} a step.")
    if not rows:
        st.markdown("No dialogue was cut or left out.")
        return
    shown = show.page_of(len(rows), "Dialogues", key="left-out", size=10)
    what = {"cut": "cut: its oldest turns, {}", "left_out": "LEFT OUT: all turns, {}"}
    show.table([{"Dialogue": row.id, "Split": row.split, "What": what[row.action].format(row.n_cut_turns),
                 "Because": row.because} for row in (rows[i] for i in shown)],
               "Each dialogue that training could not take whole, by its id in the curated data, with the number of "
               "turns that were not learnt from. No word of it stands here.")


def thinned(steps: Sequence[StepLog]) -> list[StepLog]:
    """At most POINTS to draw: in a longer training each is the mean of as many steps in a row, named by the last."""
    width = max(1, -(-len(steps) // POINTS))
    return [mean(steps[i : i + width]) for i in range(0, len(steps), width)]


def mean(steps: Sequence[StepLog]) -> StepLog:
    """Steps as one: loss by token, rate and norm by step."""
    n, tokens = len(steps), sum(step.n_target_tokens for step in steps)
    return StepLog(step=steps[-1].step, loss=sum(step.loss * step.n_target_tokens for step in steps) / max(1, tokens),
                   learning_rate=sum(step.learning_rate for step in steps) / n,
                   grad_norm=sum(step.grad_norm for step in steps) / n, n_target_tokens=tokens)


def chart(
    rows: Sequence[dict[str, object]], y: alt.Y, *, title: str, checkpoints: Sequence[Checkpoint], height: int = 360
) -> alt.LayerChart:
    """Lines told apart by dash and shape as well as by colour, a point per checkpoint; selected and breached marked."""
    names = list(dict.fromkeys(str(row["series"]) for row in rows))
    legend = LEGEND if len(names) > 1 else None
    dash = alt.StrokeDash("series:N", legend=None, scale=alt.Scale(domain=names))
    shape = alt.Shape("series:N", legend=legend, scale=alt.Scale(domain=names))
    color = alt.Color("series:N", legend=legend, scale=alt.Scale(domain=names, range=INKS))
    base = alt.Chart(alt.Data(values=list(rows))).encode(x=STEP, y=y, color=color)
    thin = base.transform_filter("!datum.checkpoint").mark_line(strokeWidth=1).encode(strokeDash=dash)
    lines = base.transform_filter("datum.checkpoint").mark_line().encode(strokeDash=dash)
    points = base.transform_filter("datum.checkpoint").mark_point(size=70, filled=True, opacity=1).encode(shape=shape)
    layers = alt.layer(thin, lines, points, *marks(checkpoints))
    return layers.properties(title=alt.Title(title, offset=18), height=height)


def marks(checkpoints: Sequence[Checkpoint]) -> list[alt.Chart]:
    """A rule with words above it at the selected checkpoint, on the side with room; a cross at each breached one."""
    last = max((one.step for one in checkpoints), default=0)
    picked = [{"step": one.step, "what": f"selected: step {one.step}"} for one in checkpoints if one.is_selected]
    broken = [{"step": one.step, "what": "✕"} for one in checkpoints if one.breach]
    is_early = bool(picked) and 2 * int(str(picked[0]["step"])) < last
    at = alt.Chart(alt.Data(values=picked)).encode(x="step:Q")
    text = at.mark_text(align="left" if is_early else "right", dx=-2 if is_early else 2, baseline="bottom")
    cross = alt.Chart(alt.Data(values=broken)).mark_text(baseline="bottom", fontSize=16, color=show.INK)
    return [at.mark_rule(strokeDash=[2, 2]), text.encode(text="what:N", y=alt.value(-3)),
            cross.encode(x="step:Q", y=alt.value("height"), text="what:N")]


def losses(steps: Sequence[StepLog], checkpoints: Sequence[Checkpoint]) -> None:
    """Training loss per step and per checkpoint, validation loss per checkpoint."""
    st.header("Loss", anchor=False)
    rows: list[dict[str, object]] = []
    rows += [{"step": s.step, "loss": s.loss, "series": TRAINING, "checkpoint": False} for s in thinned(steps)]
    for series, name in ((SINCE, "train_loss"), (VALIDATION, "val_loss")):
        rows += [{"step": one.step, "loss": getattr(one.point, name), "series": series, "checkpoint": True}
                 for one in checkpoints]
    y = alt.Y("loss:Q", title="mean loss (nats per token)", scale=alt.Scale(zero=False))
    show.chart(chart(rows, y, title="Loss over training", checkpoints=checkpoints),
               alt="Loss over optimiser steps; the same numbers stand in the tables below.")
    st.caption(MARKS)
    show.table([checkpoint_row(one) for one in checkpoints],
               "Each checkpoint: mean loss in nats per supervised token, and what the probe found. A reply counts as "
               f"toxic when any scorer calls it so. {bounded()} Weights that are not kept were of a checkpoint that "
               "could not be selected.")


def bounded() -> str:
    """What the upper bound is, for captions."""
    return (f"The upper bound says how high the true share of toxic replies could still be, at {load.confidence():.0%} "
            "confidence, each reply that is not scored taken for toxic: the fewer prompts were asked, the less 0 toxic "
            "replies carry. It is each checkpoint's own; the best of several looks better than it is.")


def checkpoint_row(one: Checkpoint) -> dict[str, object]:
    """A checkpoint as a line of the table."""
    found = one.candidate
    verdict = "not considered" if found is None else "could be selected" if found.eligible else "could NOT be selected"
    told = "no probe"
    if one.n_replies:
        told = f"{one.n_toxic} of {one.n_replies} toxic, {one.n_unscored} {show.NOT_SCORED}"
    return {
        "Step": one.step,
        "Training loss": f"{one.point.train_loss:.4f}",  # as the reason of the selection tells it
        "Validation loss": f"{one.point.val_loss:.4f}",
        "Probe": f"BREACHED: {told}" if one.breach else told,
        "Upper bound": f"{one.upper_bound:.1%}",
        "Weights": "kept" if load.has_weights(one.step) else "not kept",
        "Selection": f"SELECTED ({verdict})" if one.is_selected else verdict,
    }


def pace(steps: Sequence[StepLog], checkpoints: Sequence[Checkpoint]) -> None:
    """Learning rate and gradient norm over steps, and the numbers of every step."""
    st.header("Learning rate and gradient", anchor=False)
    drawn = (("learning_rate", "Learning rate", alt.Y("value:Q", title="learning rate", axis=alt.Axis(format=".1e"))),
             ("grad_norm", "Gradient norm, before clipping", alt.Y("value:Q", title="gradient norm")))
    for column, (name, title, y) in zip(st.columns(2), drawn, strict=True):
        rows: list[dict[str, object]] = [{"step": step.step, "value": getattr(step, name), "series": title,
                                          "checkpoint": False} for step in thinned(steps)]
        with column:
            show.chart(chart(rows, y, title=title, checkpoints=checkpoints, height=240),
                       alt=f"{title} over optimiser steps; the same numbers stand in the list below.")
    if len(steps) > POINTS:
        st.caption(f"Lines by step are drawn as at most {POINTS} means of steps in a row.")
    with st.expander("Numbers of every step"):
        st.dataframe([step.model_dump() for step in steps], hide_index=True,
                     alt="Loss, learning rate, gradient norm and supervised tokens of every optimiser step.")


def probed(probes: Sequence[Probe], checkpoints: Sequence[Checkpoint]) -> None:
    """The probe over checkpoints: toxic share with its bound, highest toxicity on shared prompts, a table by scorer."""
    st.header("Toxicity probe", anchor=False)
    shared = shared_prompts(probes)
    st.markdown(asked(checkpoints, n_shared=len(shared)))
    shares: list[dict[str, object]] = [
        {"step": one.step, "share": value, "series": series, "checkpoint": True}
        for one in checkpoints if one.n_replies
        for series, value in ((SHARE, one.n_toxic / one.n_replies), (BOUND, one.upper_bound))]
    groups: dict[tuple[int, str], list[Probe]] = {}
    for probe in probes:
        groups.setdefault((probe.step, probe.scorer), []).append(probe)
    peaks: list[dict[str, object]] = [
        {"step": step, "series": scorer, "checkpoint": True,
         "highest": highest([probe for probe in group if probe.prompt_id in shared])}
        for (step, scorer), group in sorted(groups.items())]
    left, right = st.columns(2)
    with left:
        y = alt.Y("share:Q", title="share of replies", axis=alt.Axis(format=".0%"), scale=alt.Scale(zero=True))
        show.chart(chart(shares, y, title="Replies that any scorer calls toxic", checkpoints=checkpoints),
                   alt="Share of toxic replies at each checkpoint, with its upper bound; the numbers stand in the "
                       "table of checkpoints above.")
    with right:
        y = alt.Y("highest:Q", title="highest toxicity (0 to 1)", scale=alt.Scale(domain=[0, 1]))
        show.chart(chart(peaks, y, title="Highest toxicity on shared prompts", checkpoints=checkpoints),
                   alt="Highest toxicity at each checkpoint on the prompts that all were asked, by scorer; the numbers "
                       "stand in the table below.")
    st.caption(MARKS)
    told = {one.step: one.told for one in checkpoints}
    show.table([scorer_row(told.get(step, str(step)), scorer, group, shared)
                for (step, scorer), group in sorted(groups.items())],
               f"What each toxicity scorer found at each checkpoint. {bounded()} Shared prompts are those that every "
               "checkpoint was asked. Low toxicity is not safety: harmful advice in kind words scores low.")


def asked(checkpoints: Sequence[Checkpoint], *, n_shared: int) -> str:
    """How many prompts each checkpoint was asked, and what can be compared."""
    steps: dict[int, list[str]] = {}
    for one in checkpoints:
        steps.setdefault(one.n_replies, []).append(str(one.step))
    if len(steps) <= 1:
        return f"Every checkpoint was asked {show.count(n_shared, 'prompt')}."
    parts = [f"{show.count(n, 'prompt')} at step {', '.join(at)}" for n, at in sorted(steps.items())]
    return (f"Checkpoints were asked different numbers of prompts: {'; '.join(parts)}. Compare shares by their upper "
            f"bounds, and the highest values over the {show.count(n_shared, 'prompt')} that all were asked.")


def shared_prompts(probes: Sequence[Probe]) -> set[str]:
    """Ids of the prompts that every probed checkpoint was asked."""
    steps: dict[int, set[str]] = {}
    for probe in probes:
        steps.setdefault(probe.step, set()).add(probe.prompt_id)
    return set.intersection(*steps.values()) if steps else set()


def highest(probes: Sequence[Probe]) -> float | None:
    """The highest value that was taken."""
    return max((probe.value for probe in probes if probe.value is not None), default=None)


def scorer_row(step: str, scorer: str, probes: Sequence[Probe], shared: set[str]) -> dict[str, object]:
    """What one scorer found at one checkpoint, as a line of the table."""
    n, toxic, unscored = count_replies(probes)
    common = [probe for probe in probes if probe.prompt_id in shared]
    n_common, toxic_common, _ = count_replies(common)
    return {
        "Step": step,
        "Scorer": scorer,
        "Toxic": f"{toxic} of {n}",
        "Upper bound": f"{upper_bound(toxic + unscored, n, confidence=load.confidence()):.1%}",
        "Toxic on shared prompts": f"{toxic_common} of {n_common}",
        "Highest toxicity": show.number(highest(probes)),
        "Highest on shared prompts": show.number(highest(common)),
        "Not scored": unscored,
    }


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
            show.said(load.prompt(suite, prompt_id).context[-1].text)
            st.markdown("**Model**")
            show.said(scored[0].reply)
            for one in scored:
                told = f"{one.scorer}: {show.number(one.value)}, {one.label or 'no label'}. {one.because}"
                st.caption(show.plain(told))


st.title("Training", anchor=False)
with show.explained():
    steps_found = load.records(TRAINED / "steps.jsonl", StepLog)
    ended(load.records(TRAINED / "summary.json", TrainingSummary)[0], steps_found,
          load.records(TRAINED / "left_out.jsonl", TrainingRow))
    selected, probes_found = load.selection(), load.records(TRAINED / "probes.jsonl", Probe)
    checkpoints_found = joined(load.records(TRAINED / "history.jsonl", CheckpointSummary), probes_found, selected)
    losses(steps_found, checkpoints_found)
    pace(steps_found, checkpoints_found)
    probed(probes_found, checkpoints_found)
    replies(probes_found, selected)
