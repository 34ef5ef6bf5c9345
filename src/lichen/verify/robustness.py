"""Axis 2: is the candidate as robust as the reference when prompts are put differently?

The measures of ReCode (Wang et al., arXiv 2212.10264, section 4) with one greedy sample.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lichen import stats
from lichen.perturb import nominal, perturb, perturbations
from lichen.sandbox import Sandbox
from lichen.verify.correctness import interval
from lichen.verify.progress import Progress
from lichen.verify.questions import Answer, Question, keep_sound
from lichen.verify.record import Decision, Exclusion, PerturbationResult, Robustness


@dataclass(frozen=True)
class Trial:
    """A perturbed question, and what it is held against.

    ``nominal`` is the question that differs from it by the perturbation alone: ``plain``, the
    task as its set has it, or that with the first half of the reference body.
    """

    plain: Question
    nominal: Question
    perturbed: Question

    @property
    def perturbation(self) -> str:
        """The name of what was done to the prompt."""
        assert self.perturbed.perturbation is not None
        return self.perturbed.perturbation


@dataclass(frozen=True)
class Plan:
    """Every trial of a task set, and what was left out because a perturbation broke it."""

    tasks: str
    seeds: tuple[int, ...]
    trials: tuple[Trial, ...]
    excluded: Mapping[str, Sequence[Exclusion]]

    @property
    def used(self) -> list[str]:
        """The perturbations that applied to some task, or broke one."""
        kept = {trial.perturbation for trial in self.trials}
        return [name for name, broken in self.excluded.items() if broken or name in kept]

    def questions(self) -> list[Question]:
        """Everything to ask, each question once."""
        asked = [q for t in self.trials for q in (t.plain, t.nominal, t.perturbed)]
        return list(dict.fromkeys(asked))


def plan(
    questions: Sequence[Question],
    names: Collection[str],
    seeds: Sequence[int],
    sandbox: Sandbox,
    progress: Progress,
    unreadable: Callable[[Sequence[Question]], Mapping[Question, Exclusion]],
) -> Plan:
    """Perturb every question in every way; keep what really changed and is still solvable.

    A task whose own reference solution no longer passes after a perturbation is excluded from it,
    and so is one that is then `unreadable` to the models.
    """
    made = [trial for name in names for q in questions for trial in _perturbed(q, name, seeds)]
    _, broken = keep_sound(
        [trial.perturbed for trial in made], sandbox, progress, "Checking perturbed references"
    )
    broken |= unreadable([q for trial in made for q in (trial.nominal, trial.perturbed)])
    excluded: dict[str, list[Exclusion]] = {name: [] for name in names}
    trials = []
    for trial in made:
        exclusion = broken.get(trial.perturbed) or broken.get(trial.nominal)
        if exclusion is None:
            trials.append(trial)
        else:
            excluded[trial.perturbation].append(exclusion)
    tasks = questions[0].tasks if questions else ""
    return Plan(tasks, tuple(seeds), tuple(trials), excluded)


def _perturbed(question: Question, name: str, seeds: Sequence[int]) -> list[Trial]:
    """The trials of one question; a perturbation without randomness is done once."""
    before = nominal(question.task, name)
    if before is None:
        return []
    held = question
    if before != question.task:
        held = Question(question.tasks, before, f"{name}:nominal")
    kind = perturbations()[name]
    trials = []
    for seed in seeds if kind.random else seeds[:1]:
        task = perturb(question.task, name, seed)
        if task is not None:
            trials.append(Trial(question, held, Question(question.tasks, task, name, seed)))
    return trials


Answers = Mapping[Question, Answer]


def compare(plan: Plan, reference: Answers, candidate: Answers, *, margin: float) -> Robustness:
    """Both models on one plan: every perturbation by itself, and all together.

    `margin` is the loss of robust pass@1 beyond which a significant loss rejects.
    """
    tasks = list(dict.fromkeys(trial.plain for trial in plan.trials))
    plain = [_passed(tasks, answers) for answers in (reference, candidate)]
    robust = [_robust(plan.trials, answers) for answers in (reference, candidate)]
    pairs = [(robust[0][q], robust[1][q]) for q in tasks]
    lost, gained = pairs.count((True, False)), pairs.count((False, True))
    difference = stats.tango_paired(lost, gained, len(pairs))
    p_value = stats.mcnemar_exact(lost, gained)
    decision = _decide(difference, p_value, margin)
    rates = [sum(robust[side].values()) for side in (0, 1)]
    return Robustness(
        tasks=plan.tasks,
        count=len(tasks),
        perturbations=[_one(plan, name, reference, candidate) for name in plan.used],
        reference_pass=interval(stats.wilson(plain[0], len(tasks))),
        candidate_pass=interval(stats.wilson(plain[1], len(tasks))),
        reference_robust_pass=interval(stats.wilson(rates[0], len(tasks))),
        candidate_robust_pass=interval(stats.wilson(rates[1], len(tasks))),
        reference_relative_drop=_relative_drop(plain[0], rates[0]),
        candidate_relative_drop=_relative_drop(plain[1], rates[1]),
        reference_flip_rate=_flip_rate(plan.trials, reference),
        candidate_flip_rate=_flip_rate(plan.trials, candidate),
        difference=interval(difference),
        mcnemar_p=p_value,
        decision=decision,
        reason=_reason(decision, lost, gained, len(pairs), difference, margin),
    )


def _passed(questions: Iterable[Question], answers: Answers) -> int:
    return sum(answers[question].passed for question in questions)


def _robust(trials: Iterable[Trial], answers: Answers) -> dict[Question, bool]:
    """By task: whether it passes under every trial (ReCode's RP with k = 1)."""
    robust: dict[Question, bool] = {}
    for trial in trials:
        passed = answers[trial.perturbed].passed
        robust[trial.plain] = robust.get(trial.plain, True) and passed
    return robust


def _flipped(trials: Iterable[Trial], answers: Answers) -> dict[tuple[Question, str], bool]:
    """By (task, perturbation): whether any seed changed the verdict (RR's numerator)."""
    flipped: dict[tuple[Question, str], bool] = {}
    for trial in trials:
        key = (trial.plain, trial.perturbation)
        changed = answers[trial.nominal].passed != answers[trial.perturbed].passed
        flipped[key] = flipped.get(key, False) or changed
    return flipped


def _flip_rate(trials: Sequence[Trial], answers: Answers) -> float:
    flipped = _flipped(trials, answers)
    return sum(flipped.values()) / len(flipped)


def _relative_drop(nominal: int, robust: int) -> float | None:
    """RD of ReCode; undefined for a model that passes nothing."""
    return (nominal - robust) / nominal if nominal else None


def _one(plan: Plan, name: str, reference: Answers, candidate: Answers) -> PerturbationResult:
    trials = [trial for trial in plan.trials if trial.perturbation == name]
    tasks = list(dict.fromkeys(trial.plain for trial in trials))
    unperturbed = list(dict.fromkeys(trial.nominal for trial in trials))
    before, after = _robust(trials, reference), _robust(trials, candidate)
    kind = perturbations()[name]
    return PerturbationResult(
        name=name,
        category=kind.category,
        seeds=list(plan.seeds if kind.random else plan.seeds[:1]),
        count=len(tasks),
        excluded=list(plan.excluded[name]),
        nominal_reference=_passed(unperturbed, reference),
        nominal_candidate=_passed(unperturbed, candidate),
        robust_reference=sum(before.values()),
        robust_candidate=sum(after.values()),
        flips_reference=sum(_flipped(trials, reference).values()),
        flips_candidate=sum(_flipped(trials, candidate).values()),
        lost=[q.task.id for q in tasks if before[q] and not after[q]],
        gained=[q.task.id for q in tasks if after[q] and not before[q]],
    )


def _decide(difference: stats.Interval, p_value: float, margin: float) -> Decision:
    """Two-sided: quantization may cost robustness or bring some; both have been published."""
    if p_value <= 0.05 and difference.estimate < -margin:
        return "reject"
    return "accept" if difference.low > -margin else "undecided"


def _reason(
    decision: Decision, lost: int, gained: int, count: int, found: stats.Interval, margin: float
) -> str:
    told = (
        f"Passing under every perturbation: of {count} tasks the candidate lost {lost} and gained "
        f"{gained} ({100 * found.estimate:+.1f} points, {found.confidence:.0%} interval "
        f"{100 * found.low:+.1f} to {100 * found.high:+.1f})."
    )
    allowed = stats.points(margin)
    if decision == "reject":
        return f"{told} That loss is significant and more than the {allowed} allowed."
    if decision == "accept":
        return f"{told} A loss of more than the {allowed} allowed is ruled out."
    return f"{told} These tasks are too few to rule out a loss of more than {allowed}."
