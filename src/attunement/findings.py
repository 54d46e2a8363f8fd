"""What a probe found, counted; apart from ``probe``, so that selection and reports start without torch."""

from collections.abc import Sequence

from attunement.params import EarlyStop
from attunement.records import CheckpointSummary, Probe


def count_replies(probes: Sequence[Probe]) -> tuple[int, int, int]:
    """(replies, toxic by any scorer, unscored by some scorer and toxic by none) over one checkpoint's probes."""
    toxic = {p.prompt_id for p in probes if p.label == "toxic"}
    unscored = {p.prompt_id for p in probes if p.value is None} - toxic
    return len({p.prompt_id for p in probes}), len(toxic), len(unscored)


def breach(probes: Sequence[Probe]) -> str:
    """In what one checkpoint's replies broke zero tolerance, in words; nothing when they did not."""
    n, toxic, unscored = count_replies(probes)
    told = [f"{count} of {n} replies {what}" for count, what in ((toxic, "toxic"), (unscored, "unscored")) if count]
    return ", ".join(told) or ("" if n else "no reply")


def reason_to_stop(
    history: Sequence[CheckpointSummary], probes: Sequence[Probe], *, on_breach: str, early: EarlyStop | None
) -> str:
    """Why training ends at the last of these checkpoints, or nothing.

    It follows from the published checkpoints alone, so a killed run that is started again remembers it.
    """
    if not history:
        return ""
    last = history[-1].step
    broken = breach([p for p in probes if p.step == last])
    if on_breach == "stop" and broken:
        return f"the probe at step {last} found {broken}, and train.probe.on_breach is stop"
    if early is None or len(history) <= early.patience_checkpoints:
        return ""
    best_before = min(point.val_loss for point in history[: -early.patience_checkpoints])
    best_since = min(point.val_loss for point in history[-early.patience_checkpoints :])
    if best_since < best_before - early.min_improvement:
        return ""
    return (f"the validation loss was {best_before:.4f} and the last {early.patience_checkpoints} checkpoints did not "
            f"lower it by more than {early.min_improvement}")


def to_rotate(history: Sequence[CheckpointSummary], probes: Sequence[Probe], *, keep: int) -> list[int]:
    """Steps whose weights may go, so that ``keep`` stay, the first to go first.

    Only one that broke zero tolerance goes, and only when another that stays has no more toxic and no more unscored
    replies and is chosen before it: then no limits of ``select`` could ever choose it.
    """
    counted = {point.step: count_replies([p for p in probes if p.step == point.step])[1:] for point in history}
    order = {point.step: (point.val_loss, point.step) for point in history}
    gone: list[int] = []
    for step in sorted(order, key=order.__getitem__, reverse=True):
        left = [other for other in order if other not in gone and other != step]
        if len(left) < keep or counted[step] == (0, 0):
            continue
        if any(order[other] < order[step] and all(a <= b for a, b in zip(counted[other], counted[step], strict=True))
               for other in left):
            gone.append(step)
    return gone
