"""Words and tables that every page shares.

Two rules hold everywhere. Words of models and of data sets go through ``said`` (``st.text``), and everything else
that was not written in a page goes through ``plain``: Streamlit reads labels, captions and table cells as Markdown,
and an image in Markdown is fetched. A score that was not taken is "not scored", never a number.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import altair
import streamlit as st

from attunement.errors import AttunementError

INK = "#0e141b"
NOT_SCORED = "not scored"
COMMAND = "`dvc repro`"
HARD = "The suites hold distressing themes, self-harm and suicide among them, and models answer some of them badly."


@contextmanager
def explained() -> Iterator[None]:
    """Show a known fault as its text, in place of what could not be shown; the rest of the page goes on."""
    try:
        yield
    except AttunementError as error:
        st.error(plain(error))
    except FileNotFoundError:
        st.error("A file went away while it was read. If `dvc repro` is running, reload this page when it is done.")


def plain(text: object) -> str:
    """Text in which nothing is read as Markdown, but for the command that our own messages name.

    Escapes do not keep a bare address from becoming a link; an invisible word joiner in it does.
    """
    whole = re.sub(r"(?i)(://|www(?=\.)|@)", "\\1\u2060", str(text))
    parts = [re.sub(r"[!-/:-@\[-`{-~]", r"\\\g<0>", part) for part in whole.split(COMMAND)]
    return COMMAND.join(parts).replace("\n", "  \n")


def said(text: str) -> None:
    """Words of a model or a data set, as they are."""
    st.text(text if text.strip() else "(nothing: the reply is empty)")


def table(rows: Sequence[dict[str, object]], caption: str) -> None:
    """A table that screen readers and keyboards reach, under a caption in words."""
    st.caption(caption)
    st.table([{plain(head): plain(cell) for head, cell in row.items()} for row in rows], hide_index=True, alt=caption,
             border="horizontal")


def chart(drawn: altair.LayerChart, *, alt: str) -> None:
    """A chart as wide as its place, its letters dark enough to read; ``alt`` says it in words."""
    inked = drawn.configure_axis(labelColor=INK, titleColor=INK).configure_legend(labelColor=INK)
    st.altair_chart(inked, width="stretch", alt=alt)


def number(value: float | None, *, missing: str = NOT_SCORED) -> str:
    """Three decimals; whole numbers without."""
    if value is None:
        return missing
    return f"{value:.0f}" if value == int(value) else f"{value:.3f}"


def count(n: int, noun: str) -> str:
    """'1 rule', '3 rules'."""
    return f"{n} {noun}{'s' * (n != 1)}"


def page_of(n_items: int, noun: str, *, key: str, size: int) -> range:
    """Which items to show: a few at a time, with buttons for the others."""
    if n_items == 0:
        st.info("Nothing fits. Choose something else above.")
        return range(0)
    pages = -(-n_items // size)
    at = min(st.session_state.get(key, 0), pages - 1)

    def go(to: int) -> None:
        st.session_state[key] = to

    shown = range(at * size, min(n_items, (at + 1) * size))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Previous", key=f"{key}-previous", disabled=at == 0, on_click=go, args=(at - 1,))
        st.button("Next", key=f"{key}-next", disabled=at == pages - 1, on_click=go, args=(at + 1,))
        st.text(f"{noun} {shown.start + 1} to {shown.stop} of {n_items}")
    return shown
