"""Counting what a probe found; apart from ``probe``, so that selection and reports start without torch."""

from collections.abc import Sequence

from attunement.records import Probe


def count_replies(probes: Sequence[Probe]) -> tuple[int, int, int]:
    """(replies, toxic by any scorer, unscored by some scorer and toxic by none) over one checkpoint's probes."""
    toxic = {p.prompt_id for p in probes if p.label == "toxic"}
    unscored = {p.prompt_id for p in probes if p.value is None} - toxic
    return len({p.prompt_id for p in probes}), len(toxic), len(unscored)
