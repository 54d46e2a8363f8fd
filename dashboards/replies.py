"""Replies: read what base and tuned answered, side by side, with every score and its reason.

The address names the suite and the prompt (``?suite=…&prompt=…``), so that a finding can be shared.
"""

import streamlit as st

import load
import show
from attunement.records import Score, Turn
from load import Compared

SPEAKERS = {"system": "System", "user": "Person", "assistant": "Assistant"}
EVERY, FAILED, DIFFER, UNSCORED = FILTERS = (
    "All prompts",
    "Tuned reply fails a rule of the gate",
    "Base and tuned differ, most first",
    "A score is missing",
)
Failing = dict[tuple[str, str], dict[str, str]]


def scores_of(item: Compared, model: str | None = None) -> list[Score]:
    """Every score of a prompt's replies, of one model or of both."""
    return [score for name, answers in item.answers.items() for answer in answers for score in answer.scores
            if model in (None, name)]


def fits(items: list[Compared], wanted: str) -> list[Compared]:
    """The items that pass the chosen filter, in its order."""
    if wanted == FAILED:
        failing = load.failing_labels()
        return [item for item in items if any(failed_rule(score, failing) for score in scores_of(item, "tuned"))]
    if wanted == UNSCORED:
        return [item for item in items if any(score.value is None for score in scores_of(item))]
    if wanted == DIFFER:
        spans = spans_of(items)
        differing = [item for item in items if difference(item, spans) > 0]
        return sorted(differing, key=lambda item: -difference(item, spans))
    return items


def failed_rule(score: Score, failing: Failing) -> str | None:
    """The rule that this score's label fails, if any."""
    return failing.get((score.suite, score.scorer), {}).get(score.label or "")


def spans_of(items: list[Compared]) -> dict[str, float]:
    """By scorer, how far its values lie apart in these items: differences are taken in this unit."""
    values: dict[str, list[float]] = {}
    for score in (score for item in items for score in scores_of(item)):
        if score.value is not None:
            values.setdefault(score.scorer, []).append(score.value)
    return {scorer: max(found) - min(found) for scorer, found in values.items()}


def difference(item: Compared, spans: dict[str, float]) -> float:
    """The largest difference of any one scorer, over that scorer's span; 0 when no scorer judged both."""
    base = {(score.scorer, score.sample): score.value for score in scores_of(item, "base")}
    pairs = [(score.scorer, score.value, base.get((score.scorer, score.sample))) for score in scores_of(item, "tuned")]
    return max((abs(tuned - other) / spans[scorer] for scorer, tuned, other in pairs
                if tuned is not None and other is not None and spans[scorer] > 0), default=0.0)


def go(prompt_id: str | None) -> None:
    """Put a prompt into the address, or none: another choice starts at its first prompt."""
    if prompt_id is None:
        st.query_params.pop("prompt", None)
    else:
        st.query_params["prompt"] = prompt_id


def choose(by_suite: dict[str, list[Compared]]) -> Compared | None:
    """Suite, category and filter, then previous and next; the prompt is the address's where it fits."""
    if "suite" not in st.session_state and "suite" in st.query_params:
        if st.query_params["suite"] in by_suite:
            st.session_state["suite"] = st.query_params["suite"]
        else:
            st.warning("The address names a suite that was not answered; here is the first one.")
    left, middle, right = st.columns(3)
    suite = left.selectbox("Suite", list(by_suite), key="suite", on_change=go, args=(None,))
    st.query_params["suite"] = suite
    items, wanted_id = by_suite[suite], st.query_params.get("prompt")
    category = middle.selectbox("Category", ["All", *sorted({item.prompt.category for item in items})],
                                on_change=go, args=(None,))
    wanted = right.selectbox("Show", FILTERS, on_change=go, args=(None,))
    if wanted_id is not None and wanted_id not in {item.prompt.prompt_id for item in items}:
        st.warning("The address names a prompt that this suite does not hold; here is the first one.")
    found = fits([item for item in items if category in ("All", item.prompt.category)], wanted)
    if not found:
        st.info("No prompt of this suite fits. Choose another category or filter.")
        return None
    ids = [item.prompt.prompt_id for item in found]
    at = ids.index(wanted_id) if wanted_id in ids else 0
    go(ids[at])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Previous", disabled=at == 0, on_click=go, args=(ids[at - 1],))
        st.button("Next", disabled=at == len(ids) - 1, on_click=go, args=(ids[min(at + 1, len(ids) - 1)],))
        st.text(f"Prompt {at + 1} of {len(ids)}")
    return found[at]


def context(turns: tuple[Turn, ...]) -> None:
    """What was said before the reply."""
    st.header("What was said", anchor=False)
    for turn in turns:
        with st.container(gap="xsmall"):
            st.markdown(f"**{SPEAKERS[turn.role]}**")
            show.said(turn.text)


def answers(item: Compared) -> None:
    """Both models' replies side by side (one under the other on a narrow screen)."""
    for column, model in zip(st.columns(2), load.MODELS, strict=True):
        with column:
            st.header("Base answered" if model == "base" else "Tuned answered", anchor=False)
            for answer in item.answers[model]:
                with st.container(border=True):
                    show.said(answer.reply.text)
                cut = "cut off at the length limit" if answer.reply.stopped_by == "length" else "ended by itself"
                st.caption(f"Sample {answer.reply.sample}, {answer.reply.n_tokens} tokens, {cut}.")
            if not item.answers[model]:
                st.markdown("This model gave no reply to this prompt.")


def judged(item: Compared) -> None:
    """Every score of both models, with label, reason, and the rule that it fails."""
    st.header("Scores and reasons", anchor=False)
    failing: Failing = {}
    with show.explained():
        failing = load.failing_labels()
    rows: list[dict[str, object]] = []
    for score in sorted(scores_of(item), key=lambda score: (score.scorer, score.model, score.sample)):
        rule = failed_rule(score, failing) if score.model == "tuned" else None
        told = show.number(score.value) + (f", {score.label}" if score.label else "")
        sample = f", sample {score.sample}" if score.sample else ""
        rows.append({"Scorer": f"{score.scorer}, {score.model}{sample}",
                     "Score": f"{told} (FAILS the rule '{rule}')" if rule else told, "Because": score.because})
    show.table(rows, "What each scorer says of each reply. A score that could not be taken is not a 0 and not a pass.")


st.title("Replies", anchor=False)
st.warning(f"Content note. {show.HARD}")
with show.explained():
    chosen = choose(load.compared())
    if chosen is not None:
        st.caption(show.plain(f"Category {chosen.prompt.category}, locale {chosen.prompt.locale}"))
        context(chosen.prompt.context)
        answers(chosen)
        judged(chosen)
