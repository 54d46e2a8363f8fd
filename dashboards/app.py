"""The dashboard: ``streamlit run dashboards/app.py`` from the project's root. It reads; it changes nothing.

One file per page beside this one (Streamlit would serve a folder named ``pages/`` without this frame); ``load.py``
reads the artefacts, ``show.py`` puts them into words and tables.
"""

import streamlit as st

PAGES = [
    st.Page("verdict.py", title="Verdict", default=True),
    st.Page("training.py", title="Training"),
    st.Page("compare.py", title="Base against tuned"),
    st.Page("replies.py", title="Replies"),
    st.Page("data.py", title="Data"),
]

st.set_page_config(page_title="Attunement", layout="wide")
page = st.navigation(PAGES, position="top")
st.caption("Attunement measures support models. It is not a clinician and not a crisis service: in danger, call the "
           "local emergency number or a crisis line.")
page.run()
