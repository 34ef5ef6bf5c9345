"""A test for several samples of each task: how often would luck alone part the models so far?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int64]

#: Additions that the exact distribution may cost; beyond them it is sampled.
EXACT_WORK = 200_000_000
SLACK = 1e-9  # for sums of floats that stand for fractions


def paired_permutation(
    reference: Sequence[float],
    candidate: Sequence[float],
    *,
    resamples: int = 100_000,
    seed: int = 0,
) -> float:
    """Two-sided p-value of "which model got which score of a task was a coin toss".

    Samples of one task are not independent pairs, so tasks are permuted, not samples.  Exact
    where scores are fractions with a common denominator, as pass fractions are, and with one
    sample of each task it is McNemar's exact test.  Otherwise from ``resamples`` random sign
    flips, the one seen among them, so that it is never 0 (Phipson and Smyth 2010,
    doi 10.2202/1544-6115.1585).
    """
    difference = paired_differences(reference, candidate)
    steps = _whole_steps(difference)
    if steps is not None and np.count_nonzero(steps) * int(np.abs(steps).sum()) <= EXACT_WORK:
        return _exact(steps)
    return _sampled(difference, resamples, np.random.default_rng(seed))


def paired_differences(reference: Sequence[float], candidate: Sequence[float]) -> Array:
    """Candidate minus reference, task by task [tasks]; refuses what are not pairs of scores."""
    scores = [np.asarray(side, np.float64) for side in (reference, candidate)]
    before, after = scores
    if before.ndim != 1 or before.shape != after.shape or before.size == 0:
        raise ValueError("needs two equally long, non-empty lists of scores, one for each task")
    if not all(((side >= 0) & (side <= 1)).all() for side in scores):
        raise ValueError("a score is a fraction from 0 to 1")
    difference: Array = after - before
    return difference


def _whole_steps(difference: Array) -> Steps | None:
    """The differences as multiples of the largest common step 1/1 ... 1/1000, if there is one."""
    for denominator in range(1, 1001):
        steps = difference * denominator
        if np.abs(steps - np.rint(steps)).max() < SLACK:
            return np.rint(steps).astype(np.int64)
    return None


def _exact(steps: Steps) -> float:
    """The whole null distribution, task by task (Pagano and Tritchler 1983, JASA 78:435).

    chance[i] is that of the tasks that favour the candidate adding up to i steps.
    """
    sizes = np.abs(steps[steps != 0])
    total = int(sizes.sum())
    chance = np.zeros(total + 1)
    chance[0] = 1.0
    reach = 1
    for size in np.sort(sizes).tolist():
        half = chance[:reach] / 2
        chance[:reach] = half
        chance[size : size + reach] += half
        reach += size
    sums = 2 * np.arange(total + 1) - total
    return min(1.0, float(chance[np.abs(sums) >= abs(int(steps.sum()))].sum()))


def _sampled(difference: Array, resamples: int, rng: np.random.Generator) -> float:
    seen = abs(difference.sum()) - SLACK
    chunk = max(1, 2_000_000 // difference.size)  # bounds the signs at 16 MB
    as_far = 0
    for start in range(0, resamples, chunk):
        up = rng.random((min(chunk, resamples - start), difference.size)) < 0.5
        as_far += int((np.abs(np.where(up, 1.0, -1.0) @ difference) >= seen).sum())
    return (1 + as_far) / (1 + resamples)
