"""What a run asks: the questions of every set and their perturbations, and what is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lichen import tasks
from lichen.errors import InputError
from lichen.perturb import perturbations
from lichen.tasks import TaskSet
from lichen.verify import robustness
from lichen.verify.boxes import Boxes
from lichen.verify.progress import Progress
from lichen.verify.questions import Ask, Question, keep_sound
from lichen.verify.record import Exclusion
from lichen.verify.settings import Settings

#: Marks a task as its set has it, asked greedily beside samples of it.
UNPERTURBED = "unperturbed"

#: The questions that cannot be put, with the reasons.
Unread = Callable[[Sequence[Question]], Mapping[Question, Exclusion]]


@dataclass(frozen=True)
class Paper:
    """Everything that will be asked, and what had to be left out."""

    sets: tuple[TaskSet, ...]
    questions: tuple[tuple[Question, ...], ...]
    excluded: tuple[tuple[Exclusion, ...], ...]
    trials: robustness.Plan

    def asks(self, samples: int) -> list[Ask]:
        """Each question of the sets that many times, then those of the trials once."""
        nominal = [question for part in self.questions for question in part]
        sampled = [Ask(question, sample) for question in nominal for sample in range(samples)]
        return list(dict.fromkeys([*sampled, *map(Ask, self.trials.questions())]))


def load_tasks(settings: Settings) -> tuple[TaskSet, ...]:
    """The task sets; InputError for what cannot be loaded or does not exist."""
    unknown = sorted(set(settings.perturbations or ()) - set(perturbations()))
    if unknown:
        raise InputError(
            f"no perturbation {', '.join(unknown)}; there are {', '.join(perturbations())}."
        )
    sets = tuple(tasks.load(name, settings.data) for name in settings.tasks)
    name, count = Counter(part.name for part in sets).most_common(1)[0]
    if count > 1:
        raise InputError(
            f"{count} of the task sets are called {name}; rename a file, or run apart."
        )
    return sets


def set_paper(
    sets: Sequence[TaskSet], settings: Settings, unread: Unread, boxes: Boxes, progress: Progress
) -> Paper:
    """Leave out what is unsound or unread, with the reason, and perturb some of the rest.

    InputError for a set of which nothing is left.
    """
    questions, excluded = [], []
    for part in sets:
        asked = [Question(part.name, task) for task in part.tasks]
        sandbox = boxes.of_set[part.name]
        sound, broken = keep_sound(asked, sandbox, progress, f"Checking {part.name}")
        broken |= unread(sound)
        sound = [question for question in sound if question not in broken]
        if not sound:
            first = broken[asked[0]]
            raise InputError(
                f"{part.name}: none of its {len(asked)} tasks can be used; the first is "
                f"{first.task}: {first.reason}."
            )
        tried = [Exclusion(task=task, reason=reason) for task, reason in part.left_out]
        questions.append(tuple(sound))
        excluded.append((*tried, *broken.values()))
    chosen = _subset(sets[0], questions[0], settings)
    names = perturbations() if settings.perturbations is None else settings.perturbations
    first_box = boxes.of_set[sets[0].name]
    trials = robustness.plan(
        chosen, names if chosen else (), settings.seeds, first_box, progress, unread
    )
    return Paper(tuple(sets), tuple(questions), tuple(excluded), trials)


def _subset(part: TaskSet, sound: Sequence[Question], settings: Settings) -> list[Question]:
    """Some of the sound questions, spread over the difficulties of their set, to be perturbed."""
    count = min(settings.robustness_tasks, len(part.tasks))
    if count == 0:
        return []
    chosen = {task.id for task in part.subset(count).tasks}
    mark = UNPERTURBED if settings.temperature > 0 else None
    return [Question(q.tasks, q.task, mark) for q in sound if q.task.id in chosen]
