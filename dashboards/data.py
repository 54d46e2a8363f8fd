"""Data: what curation kept, and by which rule every other row was changed, dropped or quarantined."""

from collections.abc import Sequence

import streamlit as st

import load
import show
from attunement.records import LedgerRow
from load import CurationSummary

CURATED = load.OUT / "curate"


def sizes(found: CurationSummary) -> None:
    """Rows read and what became of them; dialogues by split; rows by rule."""
    st.header("Every row accounted for", anchor=False)
    rows = found.rows
    parts = " + ".join(f"{n} {name}" for name, n in rows.items() if name != "read")
    st.markdown(show.plain(f"{rows['read']} read = {parts}." if "read" in rows else f"{parts}."))
    show.table([{"Split": name, "Dialogues": n, "Turns": found.turns.get(name, "not counted")}
                for name, n in found.dialogues.items()],
               "What is kept, by split. Training sees train; val chooses the checkpoint; test is held back.")
    st.header("Why rows were changed or left out", anchor=False)
    reasons = [reason(key, n) for key, n in found.rules.items()]
    if reasons:
        show.table(reasons, "How many decisions each rule of each step of curation took: rows changed, flagged, "
                            "dropped or quarantined.")
    else:
        st.markdown("No row was changed, flagged, dropped or quarantined.")
    st.markdown("The sources, their licences and what is in the corpus: read `out/curate/datasheet.md`.")


def reason(key: str, n: int) -> dict[str, object]:
    """A count by ``action:step:rule`` as a line of the table; a rule's name may hold colons."""
    action, _, rest = key.partition(":")
    step, _, rule = rest.partition(":")
    return {"Action": action, "Step": step, "Rule": rule, "Decisions": n}


def ledger(rows: Sequence[LedgerRow]) -> None:
    """Every decision; it holds offsets and rule entries, no words."""
    st.header("Ledger", anchor=False)
    left, right = st.columns(2)
    action = left.selectbox("Action", ["All", *sorted({row.action for row in rows})])
    rule = right.selectbox("Rule", ["All", *sorted({row.rule for row in rows if action in ("All", row.action)})])
    fitting = [row for row in rows if action in ("All", row.action) and rule in ("All", row.rule)]
    found = sorted(fitting, key=lambda row: row.action == "kept")
    caption = (f"{show.count(len(found), 'decision')} of {len(rows)}, what was kept last, each with its place in the "
               "source and the evidence. The ledger holds offsets and rule entries, never a person's words.")
    shown = show.page_of(len(found), "Decisions", key=f"ledger-{action}-{rule}", size=20)
    show.table([entry(found[i]) for i in shown], caption)


def entry(row: LedgerRow) -> dict[str, object]:
    """A decision as a line of the table."""
    limit = show.number(row.limit, missing="none")
    score = "" if row.score is None else f" (score {show.number(row.score)}, limit {limit})"
    return {"Where": f"{row.file}:{row.line}", "Source": row.source, "Action": row.action, "Step": row.step,
            "Rule": row.rule, "Evidence": row.evidence + score}


st.title("Data", anchor=False)
with show.explained():
    sizes(load.records(CURATED / "summary.json", CurationSummary)[0])
with show.explained():
    ledger(load.records(CURATED / "ledger.parquet", LedgerRow))
