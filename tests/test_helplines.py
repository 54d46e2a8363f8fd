"""What is looked for in a text before a contact's own pattern lets every text pass in which the pattern is found."""

import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from attunement import helplines
from attunement.helplines import UNKNOWN_REGION, listed, load_helplines
from attunement.phrases import load_referral_phrases

LINES = load_helplines()
WORDS = load_referral_phrases().named
CONTACTS = sorted({one.contact for one in helplines._catalogue(UNKNOWN_REGION, helplines._Known(LINES))})
TWINS = str.maketrans("iskSK", "ıſ\u212aſ\u212a")


@settings(max_examples=600, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data(), st.sampled_from(CONTACTS), st.booleans())
def test_every_way_to_write_a_contact_is_looked_at(data: st.DataObject, contact: str, foreign: bool) -> None:
    pattern = helplines._contact_regex(contact)
    text = f"Call {data.draw(st.from_regex(re.compile(pattern.pattern, pattern.flags), fullmatch=True))} now"
    text = text.translate(TWINS) if foreign else text
    if match := pattern.search(text):
        spans = list(listed(text, UNKNOWN_REGION, LINES, WORDS))
        short = len(re.sub(r"\D", "", contact)) in range(1, helplines.SHORT_DIGITS + 1)
        assert short or any(span.start < match.end() and match.start() < span.end for span in spans)
        assert helplines._may_stand(helplines._listed(contact), *helplines._seen(text))


def test_the_list_is_put_in_order_once_and_anew_for_another_list() -> None:
    known = helplines._Known(LINES)
    assert helplines._catalogue("US", known) is helplines._catalogue("US", helplines._Known(LINES))
    assert helplines._catalogue("US", helplines._Known(dict(LINES))) is not helplines._catalogue("US", known)
