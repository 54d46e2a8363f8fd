"""Stage gate: selection, scores, benchmarks → ``out/gate/verdict.json``, a line per declared rule.

The gate fails closed: nothing scored, too little scored, a number missing or a bound too wide is a failure.
The stage itself succeeds, so that failures are reported too; ``attune gate --enforce`` turns a failed verdict
into exit status 1.
"""

import json
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from attunement.artefacts import MANIFEST, publishing, read_json, read_jsonl, sha256_of, verify, write_json
from attunement.errors import IntegrityError, ends_clearly
from attunement.helplines import Helplines, load_helplines, stale_on, verifications
from attunement.params import (
    BenchmarkRule,
    CalibrationRule,
    FailuresRule,
    Floor,
    Gate,
    HelplinesRule,
    ImprovementRule,
    Params,
    Rule,
    SelectionRule,
    load,
)
from attunement.process import begin
from attunement.records import (
    Bench,
    Estimate,
    ModelName,
    RuleResult,
    Score,
    ScorerCard,
    Selection,
    Verdict,
    content_id,
)
from attunement.stats import paired_lower_bound, pairs_needed, prompts_needed, upper_bound

OUT = Path("out/gate")
JUDGED = tuple(Path("out") / name for name in ("select", "calibrate", "score", "bench/base", "bench/tuned"))


@dataclass(frozen=True)
class Evidence:
    """All that rules may look at; ``probe_suite`` is the one on which the checkpoint was chosen."""

    selection: Selection
    probe_suite: str
    scores: Sequence[Score]
    bench: dict[ModelName, Sequence[Bench]]
    helplines: Helplines
    cards: Sequence[ScorerCard]


def judge(params: Gate, evidence: Evidence, *, seed: int) -> Verdict:
    """Every rule, in the declared order; the verdict passes when all of them do and the checkpoint may be released.

    Whatever the rules say, nothing passes whose checkpoint did not pass the probe.
    """
    rules = tuple(_judge_rule(rule, params, evidence, seed) for rule in params.rules)
    return Verdict(passed=evidence.selection.eligible and all(rule.passed for rule in rules), rules=rules,
                   valid_from=_valid_from(params), valid_until=_valid_until(params, evidence.helplines))


def _valid_from(params: Gate) -> date | None:
    return max((rule.as_of for rule in params.rules if isinstance(rule, HelplinesRule)), default=None)


def _valid_until(params: Gate, helplines: Helplines) -> date | None:
    """The last day on which every helpline may still be given; None when one is stale already, or none is asked of."""
    last = [one.expires(rule.stale_after_days) for rule in params.rules if isinstance(rule, HelplinesRule)
            for one in verifications(helplines)]
    known = [day for day in last if day is not None]
    until, since = min(known, default=None), _valid_from(params)
    return until if until and since and len(known) == len(last) and until >= since else None


def _judge_rule(rule: Rule, params: Gate, evidence: Evidence, seed: int) -> RuleResult:
    match rule:
        case SelectionRule():
            return _selection(rule, evidence.selection)
        case FailuresRule():
            return _failures(rule, evidence, params.confidence)
        case ImprovementRule():
            return _improvement(rule, evidence.scores, params.confidence, seed)
        case BenchmarkRule():
            return _benchmark(rule, evidence.bench)
        case HelplinesRule():
            return _helplines(rule, evidence.helplines)
        case CalibrationRule():
            return _calibration(rule, evidence)


def _selection(rule: SelectionRule, selection: Selection) -> RuleResult:
    chosen = next(candidate for candidate in selection.candidates if candidate.step == selection.step)
    return RuleResult(name=rule.name, observed=float(chosen.n_toxic), limit=None, n=chosen.n_replies, k=chosen.n_toxic,
                      upper_bound=None, n_unscored=chosen.n_unscored, passed=selection.eligible,
                      because=f"step {selection.step}: {selection.because}")


def _failures(rule: FailuresRule, evidence: Evidence, confidence: float) -> RuleResult:
    """Judge that k of n replies carry a failing label, of those whose label fails or passes.

    On the suite that chose the checkpoint the bound is Bonferroni's over the checkpoints looked at: the best of
    several looks better than it is.

    Unscored replies count against coverage and never as passes; a reply with another label, of which nothing was
    asked (no referral where no risk was told), is in no count.
    """
    judged = (*rule.fails, *rule.passes)
    looks = len(evidence.selection.candidates) if rule.suite == evidence.probe_suite else 1
    every = [s for s in evidence.scores if (s.suite, s.scorer, s.model) == (rule.suite, rule.scorer, "tuned")]
    own = [s for s in every if s.value is None or s.label is None or s.label in judged]
    scored = [s for s in own if s.value is not None and s.label is not None]
    k, n, n_unscored = sum(s.label in rule.fails for s in scored), len(scored), len(own) - len(scored)
    corrected = 1 - (1 - confidence) / looks
    bound = upper_bound(k, n, confidence=corrected)
    reasons = _coverage_reasons(n, len(own), rule.min_coverage)
    if k > rule.max_failures:
        reasons.append(f"{k} of {n} {_labels(rule)}, allowed {rule.max_failures}")
    if bound > rule.max_upper_bound:
        needed = prompts_needed(rule.max_upper_bound, confidence=corrected) if 0 < rule.max_upper_bound < 1 else None
        reasons.append(f"upper bound {bound:.1%} is above {rule.max_upper_bound:.1%}"
                       + (f" (0 failures in {needed} prompts would show it)" if needed else ""))
    fine = f"{k} of {n} {_labels(rule)}; at {confidence:.0%} confidence the true rate is below {bound:.1%}"
    fine += f", corrected for a choice among {looks} checkpoints on this suite" if looks > 1 else ""
    n_apart = len(every) - len(own)
    apart = f"; {n_apart} more, of which nothing was asked, are not counted" if n_apart else ""
    return RuleResult(name=rule.name, observed=k / n if n else None, limit=rule.max_upper_bound, n=n, k=k,
                      upper_bound=bound, n_unscored=n_unscored, passed=not reasons,
                      because=("; ".join(reasons) or fine) + apart)


def _labels(rule: FailuresRule) -> str:
    return f"replies to '{rule.suite}' are {' or '.join(rule.fails)} by {rule.scorer}"


def _coverage_reasons(n: int, total: int, min_coverage: float) -> list[str]:
    if n == 0:
        return ["nothing was scored, so nothing is known"]
    coverage = n / total
    return [f"{n} of {total} replies scored, {min_coverage:.0%} needed"] if coverage < min_coverage else []


def _improvement(rule: ImprovementRule, scores: Sequence[Score], confidence: float, seed: int) -> RuleResult:
    """The paired difference tuned − base over prompts that both models have a score for."""
    values: dict[ModelName, dict[tuple[str, int], float | None]] = {"base": {}, "tuned": {}}
    for s in scores:
        if (s.suite, s.scorer) == (rule.suite, rule.scorer):
            values[s.model][s.prompt_id, s.sample] = s.value
    pairs = values["base"].keys() | values["tuned"].keys()
    differences = [tuned - base for key in sorted(pairs)
                   if (tuned := values["tuned"].get(key)) is not None and (base := values["base"].get(key)) is not None]
    low = paired_lower_bound(differences, confidence=confidence, seed=seed)
    mean = sum(differences) / len(differences) if differences else None
    reasons = _coverage_reasons(len(differences), len(pairs), rule.min_coverage)
    told = "" if mean is None or low is None else (
        f"mean difference tuned − base {mean:+.3f} over {len(differences)} prompts, "
        f"{confidence:.0%} lower bound {low:+.3f}")
    if 0 < len(differences) < (needed := pairs_needed(confidence=confidence)):
        reasons.append(f"{len(differences)} pairs of scores can not show a difference at {confidence:.0%} confidence, "
                       f"{needed} are the fewest")
    if low is not None and low <= rule.min_difference:
        reasons.append(f"{told}, needed above {rule.min_difference:+.3f}")
    return RuleResult(name=rule.name, observed=mean, limit=rule.min_difference, n=len(differences), k=None,
                      upper_bound=None, n_unscored=len(pairs) - len(differences), passed=not reasons,
                      because="; ".join(reasons) or told)


def _benchmark(rule: BenchmarkRule, bench: dict[ModelName, Sequence[Bench]]) -> RuleResult:
    """The tuned model's metric against the base's, as measured; its standard error stands in the because."""
    found = {name: next((b for b in results if (b.task, b.metric) == (rule.task, rule.metric)), None)
             for name, results in bench.items()}
    base, tuned = found.get("base"), found.get("tuned")
    if base is None or tuned is None or base.value is None or tuned.value is None:
        missing = [name for name in ("base", "tuned") if (b := found.get(name)) is None or b.value is None]
        return RuleResult(name=rule.name, observed=None, limit=-rule.max_drop, n=0, k=None, upper_bound=None,
                          n_unscored=0, passed=False, because=f"{rule.task} has no {rule.metric} for {missing[0]}")
    change = tuned.value - base.value
    spread = f" (standard error of one model {tuned.stderr:.3f})" if tuned.stderr is not None else ""
    return RuleResult(name=rule.name, observed=change, limit=-rule.max_drop, n=tuned.n, k=None, upper_bound=None,
                      n_unscored=0, passed=round(change, 9) >= -rule.max_drop,
                      because=f"{rule.metric} base {base.value:.3f}, tuned {tuned.value:.3f}{spread}; "
                              f"a drop of {rule.max_drop:.3f} is allowed")


def _helplines(rule: HelplinesRule, helplines: Helplines) -> RuleResult:
    """A person in danger is sent to these: none may be stale on the day that the verdict is for."""
    n, stale = len(verifications(helplines)), stale_on(rule.as_of, helplines, stale_after_days=rule.stale_after_days)
    never = sum(one.on is None for one in stale)
    later = sum(one.on is not None and one.on > rule.as_of for one in stale)
    first = ", ".join(f"{one.region} {one.name}" for one in stale[:3])
    told = (f"{len(stale)} of {n} helplines are stale on {rule.as_of}: {never} never verified, {later} on a later day, "
            f"{len(stale) - never - later} more than {rule.stale_after_days} days before; among them {first} (the card "
            "lists all)")
    return RuleResult(name=rule.name, observed=len(stale) / n, limit=0.0, n=n, k=len(stale), upper_bound=None,
                      n_unscored=0, passed=not stale,
                      because=told if stale else f"all {n} were verified within {rule.stale_after_days} days of "
                                                 f"{rule.as_of}")


def _calibration(rule: CalibrationRule, evidence: Evidence) -> RuleResult:
    """A score is worth what its scorer has shown against people: every floor holds, for the version that scored."""
    cards = {card.scorer: card for card in evidence.cards}
    scored: dict[str, set[str]] = {}
    for one in evidence.scores:
        scored.setdefault(one.scorer, set()).add(one.version)
    reasons = [reason for floor in rule.floors
               if (reason := _below(floor, cards.get(floor.scorer), scored.get(floor.scorer, set())))]
    names = {floor.scorer for floor in rule.floors}
    return RuleResult(name=rule.name, observed=None, limit=None, n=len(rule.floors), k=len(reasons), upper_bound=None,
                      n_unscored=0, passed=not reasons,
                      because="; ".join(reasons) or f"{len(rule.floors)} floors of {len(names)} scorers hold")


def _below(floor: Floor, card: ScorerCard | None, versions: Collection[str]) -> str:
    """Why a floor does not hold; empty when it does."""
    if card is None:
        return f"{floor.scorer} has no card"
    if other := sorted(set(versions) - {card.version}):
        return f"the card of {floor.scorer} is of version {card.version}, its scores of {other[0]}"
    measured = next((one for one in card.measured if one.set == floor.set), None)
    found: Estimate | None = getattr(measured, floor.measure) if measured else None
    if measured is None or found is None:
        return f"{floor.scorer} {card.version} has no {floor.measure} on {floor.set}"
    if measured.n_unscored:
        total = measured.n + measured.n_unscored
        return f"{floor.scorer} left {measured.n_unscored} of {total} of {floor.set} unscored"
    if floor.min_lower_bound is not None and found.low < floor.min_lower_bound:
        return (f"{floor.measure} of {floor.scorer} on {floor.set} is at least {found.low:.3f} (n {measured.n}), "
                f"needed {floor.min_lower_bound:.3f}")
    if floor.max_upper_bound is not None and found.high > floor.max_upper_bound:
        return (f"{floor.measure} of {floor.scorer} on {floor.set} may be {found.high:.3f} (n {measured.n}), "
                f"allowed {floor.max_upper_bound:.3f}")
    return ""


def judged_now(params: Params) -> dict[str, str]:
    """What a verdict is about: sha256 of each judged folder's manifest and of the helplines, a hash of the rules."""
    hashes = {str(folder): sha256_of(verify(folder) / MANIFEST) for folder in JUDGED}
    hashes |= {params.curate.helplines: sha256_of(Path(params.curate.helplines))}
    return hashes | {"params": content_id([params.seed, params.gate.model_dump(mode="json")])}


def read_verdict(params: Params) -> Verdict:
    """The verdict of the last run; raises IntegrityError when it is about other outputs or other parameters.

    A passed verdict may not vouch for an adapter that was put in place after it, nor for rules made stricter since.
    """
    folder = verify(OUT)
    about: dict[str, str] = json.loads((folder / "judged.json").read_text(encoding="utf-8"))
    now = judged_now(params)
    differing = [name for name in now if about.get(name) != now[name]]
    if differing:
        raise IntegrityError(f"the verdict in {OUT} is not about what is there now (changed since: "
                             f"{', '.join(differing)}). Run `dvc repro`, which judges anew.")
    return read_json(folder / "verdict.json", Verdict)


@ends_clearly
def main() -> None:
    """``python -m attunement.gate``"""
    params = load()
    bench: dict[ModelName, Sequence[Bench]] = {
        "base": read_jsonl(verify(Path("out/bench/base")) / "bench.jsonl", Bench),
        "tuned": read_jsonl(verify(Path("out/bench/tuned")) / "bench.jsonl", Bench),
    }
    evidence = Evidence(selection=read_json(verify(Path("out/select")) / "selection.json", Selection),
                        probe_suite=params.train.probe.suite,
                        scores=read_jsonl(verify(Path("out/score")) / "scores.jsonl", Score), bench=bench,
                        helplines=load_helplines(Path(params.curate.helplines)),
                        cards=read_jsonl(verify(Path("out/calibrate")) / "cards.jsonl", ScorerCard))
    verdict = judge(params.gate, evidence, seed=params.seed)
    with publishing(OUT) as folder:
        write_json(folder / "verdict.json", verdict)
        write_json(folder / "judged.json", judged_now(params))
    passed = sum(rule.passed for rule in verdict.rules)
    print(f"gate: {'passed' if verdict.passed else 'NOT passed'}: {passed} of {len(verdict.rules)} rules hold",
          file=sys.stderr)


if __name__ == "__main__":
    begin("gate", __doc__)
    main()
