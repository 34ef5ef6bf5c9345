"""The decision: accept, reject, or not enough evidence yet and how much more is needed.

Correctness decides.  Robustness can reject, not accept: a significant loss beyond the margin is
a reason against the candidate, the absence of one on few tasks is no reason for it.  Divergence
warns, resources inform.
"""

from __future__ import annotations

from collections.abc import Sequence

from lichen.stats import points
from lichen.verify.record import (
    Correctness,
    Decision,
    Divergence,
    Resources,
    Robustness,
    Verdict,
)

#: Between llama.cpp's Q4_K_M (0.022 nats) and Q3_K_M (0.081), measured on a 1.5B code model.
KLD_WARNING_NATS = 0.05
TOP1_WARNING = 0.90


def decide(
    correctness: Sequence[Correctness],
    robustness: Robustness | None,
    divergence: Divergence | None,
    resources: Resources | None,
    *,
    unsafe: bool = False,
    sandbox_level: str = "full",
) -> Verdict:
    """Join the axes into one verdict, in sentences for someone who decides."""
    decision = _decision(correctness, robustness)
    reasons = [f"{c.tasks}: {c.reason}" for c in correctness]
    reasons += [f"{c.tasks}: {_detectable(c)}" for c in correctness]
    if robustness is not None:
        reasons.append(f"Robustness ({robustness.tasks}): {robustness.reason}")
    warnings = [
        *_safety_warnings(unsafe, sandbox_level, correctness),
        *_robustness_warnings(robustness),
        *_divergence_warnings(divergence),
    ]
    summary = " ".join(
        [_opening(decision, correctness, robustness), *_figures(correctness), *_saving(resources)]
    )
    return Verdict(decision=decision, summary=summary, reasons=reasons, warnings=warnings)


def _decision(correctness: Sequence[Correctness], robustness: Robustness | None) -> Decision:
    decisions = [c.decision for c in correctness]
    if "reject" in decisions or (robustness is not None and robustness.decision == "reject"):
        return "reject"
    if decisions and all(decision == "accept" for decision in decisions):
        return "accept"
    return "undecided"


def _opening(
    decision: Decision, correctness: Sequence[Correctness], robustness: Robustness | None
) -> str:
    margin = points(correctness[0].margin)
    if decision == "accept":
        return (
            "Accept: the candidate does the work of the original; a loss of correctness of more "
            f"than {margin} is ruled out."
        )
    if decision == "reject":
        if any(c.decision == "reject" for c in correctness):
            return "Reject: the candidate is less correct than the original."
        return (
            "Reject: the candidate is less robust than the original; it fails where prompts are "
            "put differently."
        )
    return f"Undecided: there is not enough evidence yet, for or against{_remedy(correctness)}."


def _remedy(correctness: Sequence[Correctness]) -> str:
    """What would bring a decision."""
    undecided = [c for c in correctness if c.decision == "undecided"]
    needed = [(c.tasks_needed, c.tasks) for c in undecided if c.tasks_needed is not None]
    if len(needed) < len(undecided):
        return "; the original solves too few of these tasks to show a loss, take easier ones"
    count, name = max(needed)
    alike = f" like those of {name}" if len(correctness) > 1 else ""
    return f"; about {count:,} tasks{alike} in all would decide"


def _tasks(count: int) -> str:
    return f"{count:,} task{'' if count == 1 else 's'}"


def _figures(correctness: Sequence[Correctness]) -> list[str]:
    return [
        f"On {c.tasks} it passes {c.candidate.estimate:.1%} of {_tasks(c.count)}"
        f"{'' if c.samples == 1 else f' in the mean of {c.samples} samples'}, the original "
        f"{c.reference.estimate:.1%}; {_moved(c)}. {_detectable(c)}"
        for c in correctness
    ]


def _moved(c: Correctness) -> str:
    if c.samples == 1:
        return f"it lost {len(c.lost)} and gained {len(c.gained)}"
    return f"it passes {len(c.lost)} of them less often and {len(c.gained)} more often"


def _detectable(c: Correctness) -> str:
    return (
        f"The smallest drop that {_tasks(c.count)} can show is "
        f"{points(c.smallest_detectable_drop)} (power 0.8)."
    )


def _saving(resources: Resources | None) -> list[str]:
    """One sentence on what the candidate saves, from what was read on both."""
    if resources is None:
        return []
    told = [
        f"{name} {words}"
        for key, name, less, more in (
            ("size", "its files are", "smaller", "larger"),
            ("peak_memory", "its peak memory is", "smaller", "larger"),
            ("decode_speed", "for one user it is", "slower", "faster"),
            ("batch_speed", "on batches it is", "slower", "faster"),
        )
        if (words := _times(resources, key, less, more))
    ]
    return [f"{', '.join(told).capitalize()}."] if told else []


def _times(resources: Resources, key: str, less: str, more: str) -> str:
    """ "2.0 times smaller"; nothing where there is no reading, or no difference to speak of."""
    readings = resources.reference.get(key), resources.candidate.get(key)
    if readings[0] is None or readings[1] is None:
        return ""
    before, after = readings[0].value, readings[1].value
    if min(before, after) <= 0 or max(before, after) / min(before, after) < 1.05:
        return ""
    word = more if after > before else less
    return f"{max(before, after) / min(before, after):.1f} times {word}"


def _safety_warnings(unsafe: bool, level: str, correctness: Sequence[Correctness]) -> list[str]:
    warnings = []
    if unsafe:
        warnings.append("UNSAFE: generated programs ran without a sandbox.")
    elif level != "full":
        warnings.append(
            f"The sandbox ran at level '{level}', below 'full'; `lichen doctor` says how to get "
            "a better one."
        )
    for c in correctness:
        if c.excluded:
            warnings.append(
                f"{c.tasks}: {_tasks(len(c.excluded))} left out; the report gives the reason of "
                f"each, the first is {c.excluded[0].task}: {c.excluded[0].reason}."
            )
        if c.forgeable:
            warnings.append(
                f"{c.tasks}: passes on {_tasks(len(c.forgeable))} come from tests that a hostile "
                "program could have forged (verdict: forgeable)."
            )
    return warnings


def _robustness_warnings(robustness: Robustness | None) -> list[str]:
    if robustness is None:
        return ["Robustness was not tested."]
    if robustness.decision == "undecided":
        return [
            f"Robustness is undecided on {_tasks(robustness.count)}; it does not count against the "
            "candidate, and not for it."
        ]
    return []


def _divergence_warnings(divergence: Divergence | None) -> list[str]:
    if divergence is None:
        return ["The divergence of next-token distributions was not measured."]
    warnings = []
    if divergence.kld_mean > KLD_WARNING_NATS:
        warnings.append(
            f"Next-token distributions differ much: mean KL divergence {divergence.kld_mean:.3f} "
            f"nats, more than {KLD_WARNING_NATS}."
        )
    if divergence.top1_agreement < TOP1_WARNING:
        warnings.append(
            f"Only {divergence.top1_agreement:.1%} of the most likely next tokens agree, less "
            f"than {TOP1_WARNING:.0%}."
        )
    return warnings
