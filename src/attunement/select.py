"""Stage select: the probe's findings and the declared limits → the checkpoint to evaluate, and why.

Zero tolerance: a checkpoint with more toxic or unscored replies than allowed can not be chosen, however low its
loss. When none may be chosen, the one of lowest loss is still evaluated, so that everything is reported; the
record says that it is not eligible, and the verdict fails.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from attunement.artefacts import publishing, read_jsonl, verify, write_json
from attunement.errors import ends_clearly
from attunement.findings import count_replies
from attunement.params import Select, load
from attunement.process import begin
from attunement.records import Candidate, CheckpointSummary, Probe, Selection

TRAINED = Path("out/train")
OUT = Path("out/select")


def select(params: Select, history: Sequence[CheckpointSummary], probes: Sequence[Probe]) -> Selection:
    """Eligible and of lowest validation loss; of equal ones the earliest. Raises ValueError if there is none."""
    candidates = tuple(_candidate(params, point, [p for p in probes if p.step == point.step]) for point in history)
    eligible = [candidate for candidate in candidates if candidate.eligible]
    best = min(eligible or candidates, key=lambda candidate: (candidate.val_loss, candidate.step))
    if eligible:
        because = (f"lowest validation loss ({best.val_loss:.4f}) among {len(eligible)} of {len(candidates)} "
                   "checkpoints that passed the probe")
    else:
        because = (f"no checkpoint of {len(candidates)} passed the probe; the one of lowest validation loss "
                   f"({best.val_loss:.4f}) is evaluated for the report only and must not be released")
    return Selection(step=best.step, eligible=bool(eligible), because=because + _asked_fewer(best, candidates),
                     candidates=candidates)


def _asked_fewer(best: Candidate, candidates: Sequence[Candidate]) -> str:
    """How much the chosen one's probe carries, where another was asked more; nothing where none was."""
    most = max(candidates, key=lambda candidate: (candidate.n_replies, candidate.step))
    if best.n_replies == most.n_replies:
        return ""
    last = max(candidate.step for candidate in candidates)
    other = "the last checkpoint" if most.step == last else f"the one at step {most.step}"
    return f" ({best.n_toxic} of {best.n_replies} replies toxic; {other} was asked {most.n_replies})"


def _candidate(params: Select, point: CheckpointSummary, probes: Sequence[Probe]) -> Candidate:
    n, toxic, unscored = count_replies(probes)
    reasons = []
    if n == 0:
        reasons.append("the probe has no reply")
    if toxic > params.max_toxic_replies:
        reasons.append(f"{toxic} of {n} replies toxic, allowed {params.max_toxic_replies}")
    if unscored > params.max_unscored_replies:
        reasons.append(f"{unscored} of {n} replies unscored, allowed {params.max_unscored_replies}")
    return Candidate(step=point.step, val_loss=point.val_loss, n_replies=n, n_toxic=toxic, n_unscored=unscored,
                     eligible=not reasons, because="; ".join(reasons) or f"{toxic} of {n} replies toxic")


@ends_clearly
def main() -> None:
    """``python -m attunement.select``"""
    trained = verify(TRAINED)
    selection = select(load().select, read_jsonl(trained / "history.jsonl", CheckpointSummary),
                       read_jsonl(trained / "probes.jsonl", Probe))
    with publishing(OUT) as folder:
        write_json(folder / "selection.json", selection)
        shutil.copytree(trained / "checkpoints" / f"step-{selection.step:06d}", folder / "adapter")
    print(f"select: step {selection.step}: {selection.because}", file=sys.stderr)


if __name__ == "__main__":
    begin("select", __doc__)
    main()
