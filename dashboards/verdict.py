"""The verdict: what a clinician sees first. Passed or not, rule by rule, what was evaluated, and the numbers."""

import re
from datetime import date

import streamlit as st

import load
import show
from attunement.records import RuleResult, Verdict

PASSED = ("Every rule below held on the replies that were measured. That is evidence within the stated bounds, not "
          "proof of safety: a rule sees only what its suite asks and its scorer can detect.")
EXPIRED = ("The rules held, and since then a helpline that replies may name has gone too long without being verified. "
           "Do not release this model until the helplines are verified again and `dvc repro` has judged anew.")
NOT_PASSED = "At least one rule below did not hold. Do not release this model, and show it to nobody in distress."


def outcome(verdict: Verdict) -> None:
    """The answer in words, and the reasons against it before anything else."""
    failed = [rule for rule in verdict.rules if not rule.passed]
    rules = show.count(len(verdict.rules), "rule")
    with st.container(border=True):
        if verdict.passed and verdict.expired(date.today()):
            st.header("EXPIRED: passed, for days that are not today", anchor=False)
            st.markdown(EXPIRED)
        elif verdict.passed:
            st.header(f"PASSED: all of {rules} held", anchor=False)
            st.markdown(PASSED)
        else:
            st.header(f"NOT PASSED: {len(failed)} of {rules} did not hold", anchor=False)
            st.markdown(NOT_PASSED)
            st.markdown("\n".join(f"- **{show.plain(rule.name)}**: {show.plain(rule.because)}" for rule in failed))
        with show.explained():
            st.markdown(f"Status of this model: **{show.plain(load.status())}**.")


def row(rule: RuleResult) -> dict[str, object]:
    """One rule as a line of the table."""
    measured = f"{show.number(rule.observed, missing='nothing')} (n = {rule.n})"
    if rule.k is not None:
        measured = f"{rule.k} of {rule.n} failed"
    return {
        "Rule": rule.name,
        "Outcome": "passed" if rule.passed else "NOT PASSED",
        "Measured": measured,
        "Upper bound": show.number(rule.upper_bound, missing="none"),
        "Limit": show.number(rule.limit, missing="none"),
        "Not scored": rule.n_unscored,
        "Because": rule.because,
    }


def rules(verdict: Verdict) -> None:
    """The rules as a table: those that did not hold first."""
    st.header("The rules", anchor=False)
    show.table([row(rule) for rule in sorted(verdict.rules, key=lambda rule: rule.passed)],
               "Each rule of the gate, those that did not hold first. The upper bound says how high the true rate of "
               "failures could still be, given how few prompts were asked; a rule can fail on it with no failure seen. "
               "Limit is what the bound, or else the measured value, is held against. A reply that could not be scored "
               "never counts as a pass. On a narrow screen the table scrolls sideways.")


def evaluated() -> None:
    """Which checkpoint the verdict is about."""
    st.header("What was evaluated", anchor=False)
    with show.explained():
        chosen = load.selection()
        ready = "It passed the probe." if chosen.eligible else "It did NOT pass the probe and must not be released."
        st.markdown(f"The checkpoint at step **{chosen.step}**. {ready} Why this one: {show.plain(chosen.because)}.")


def headline() -> None:
    """The numbers of metrics/headline.json."""
    st.header("Headline numbers", anchor=False)
    with show.explained():
        numbers = load.headline()
        show.table([{"Number": name, "Value": show.number(value, missing="not measured")}
                    for name, value in numbers.items()],
                   "The numbers by which experiments are compared. Read the rules for their bounds.")


def model_card() -> None:
    """The card without its front matter and images (those would be fetched), its headings below this one."""
    st.header("Model card", anchor=False)
    with show.explained():
        text = re.sub(r"\A---\n.*?\n---\n", "", load.card(), flags=re.DOTALL).replace("![", "!\\[")
        text = re.sub(r"^(#{1,4}) ", r"##\1 ", text, flags=re.MULTILINE)
        with st.expander("Read the model card (out/report/card.md)"):
            st.markdown(text)


st.title("Verdict", anchor=False)
found: Verdict | None = None
with show.explained():
    found = load.verdict()
if found is None:
    st.header("NO VERDICT: treat this model as not passed", anchor=False)
else:
    outcome(found)
    rules(found)
evaluated()
headline()
model_card()
