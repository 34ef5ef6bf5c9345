"""How often the statistics err: simulated task sets whose truth is known.

    python bench/simulation.py [--runs 2000] [--markdown]

What is promised: no true difference is rejected in at most 5% of runs, a true drop of twice the
margin is accepted in at most 5%, so is one of exactly the margin, and 90% intervals hold the truth
in 88% at least.  Ends with 1 where a promise is broken by more than these few runs can be wrong.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lichen import stats
from lichen.stats.decision import accepts
from lichen.stats.score import score_limits

Array = npt.NDArray[Any]

TASKS = (20, 88, 120, 164, 209, 427, 974)
MARGIN = 0.03
DROPS = (0.0, MARGIN, 2 * MARGIN)
CONFIDENCE = 0.9  # two one-sided statements with an error of 5% each
DISCRETE = 0.02  # counts of a few flips move in steps; no interval without chance covers exactly
FLIPS = (0.0, 0.02, 0.05, 0.1)  # share of tasks that flip without any true difference
SAMPLES = (5, 10)
RATES = {"either-or": (0.4, 0.4), "weak": (0.3, 2.7)}  # beta distributions of pass rates
KINDS = ("spread", "concentrated")
UNRELATED = 0.1  # share of tasks whose pass rate the two models do not have in common


@dataclass(frozen=True)
class Cell:
    """One simulated situation: shares of the runs that accept, reject, and hold the truth."""

    situation: str
    n: int
    drop: float
    accept: float
    reject: float
    covered: float


def flips(share: float, drop: float) -> Array:
    """The chances of a loss, the same verdict, and a gain: a drop adds losses to balanced flips."""
    return np.array([share / 2 + drop, 1 - share - drop, share / 2])


def binomial(k: int, rates: Array) -> Array:
    """The chance of 0 ... k passes at each rate [rates, k + 1]."""
    passed = np.arange(k + 1)
    ways = np.array([math.comb(k, c) for c in passed])
    return ways * rates[:, None] ** passed * (1 - rates[:, None]) ** (k - passed)


def differences(k: int, shape: str, drop: float, kind: str) -> Array:
    """The chance that the candidate passes -k ... k samples more than the reference [2k + 1].

    The mean is exactly -k * drop.  A spread drop lowers every pass rate by the same factor, a
    concentrated one takes some tasks to 0 and leaves the others alone.
    """
    rates = np.random.default_rng(0).beta(*RATES[shape], 20_000)
    lost = drop / rates.mean()
    before = binomial(k, rates)
    after = binomial(k, rates * (1 - lost)) if kind == "spread" else before
    joint = (1 - UNRELATED) * before.T @ after / len(rates)
    joint += UNRELATED * np.outer(before.mean(axis=0), after.mean(axis=0))
    if kind == "concentrated":
        joint *= 1 - lost
        joint[:, 0] += lost * before.mean(axis=0)
    if drop == 0:
        joint = (joint + joint.T) / 2  # exactly alike
    return np.array([np.trace(joint, offset) for offset in range(-k, k + 1)])


def simulate(situation: str, n: int, chances: Array, drop: float, runs: int) -> Cell:
    """Sets of n tasks, each drawn with the ``chances`` of differing by -k ... k samples."""
    k = len(chances) // 2
    rng = np.random.default_rng([n, k, round(1000 * drop)])
    counts = rng.multinomial(n, chances / chances.sum(), runs)
    values = np.arange(-k, k + 1) / k
    low, high = score_limits(values, counts, bounds=(-1, 1), confidence=CONFIDENCE)
    accepted = np.array(
        [
            accepts(n, -mean, end, MARGIN, (1 - CONFIDENCE) / 2)
            for mean, end in zip(counts @ values / n, low, strict=True)
        ]
    )
    # The whole decision is slow, so it is taken only for runs that may reject, and must not.
    may_reject = counts[~accepted & (high < 0)] if drop == 0 else []
    rejects = sum(rejected(run, values) for run in may_reject)
    covered = float(np.mean((low <= -drop) & (-drop <= high)))
    return Cell(situation, n, drop, float(accepted.mean()), rejects / runs, covered)


def simulated(situations: dict[str, list[Array]], runs: int) -> list[list[Cell]]:
    """Every situation, given as its chances at each of `DROPS`, on each number of tasks."""
    return [
        [
            simulate(situation, n, chances, drop, runs)
            for chances, drop in zip(by_drop, DROPS, strict=True)
        ]
        for situation, by_drop in situations.items()
        for n in TASKS
    ]


def rejected(counts: Array, values: Array) -> bool:
    """Whether tasks whose scores differ by ``values`` so many times each reject the candidate."""
    difference = np.repeat(values, counts)
    before, after = np.maximum(-difference, 0), np.maximum(difference, 0)
    return stats.paired_means(before, after, margin=MARGIN).decision == "reject"


@dataclass(frozen=True)
class Rival:
    """How often the 95% limits of three intervals lie beyond the truth, in shares of the runs."""

    situation: str
    n: int
    score: float
    normal: float
    bootstrap: float


def rivals(situation: str, n: int, values: Array, chances: Array, truth: float, runs: int) -> Rival:
    """The lower end of 90% intervals for a mean of n draws from ``values``."""
    rng = np.random.default_rng([n, len(values)])
    counts = rng.multinomial(n, chances / chances.sum(), runs)
    mean = counts @ values / n
    deviation = np.sqrt(np.maximum(counts @ values**2 / n - mean**2, 0) / (n - 1))
    again = rng.multinomial(n, counts / n, (400, runs)) @ values / n  # [resamples, runs]
    bounds = (-1.0, 1.0) if values.min() < 0 else (0.0, 1.0)
    low = {
        "score": score_limits(values, counts, bounds=bounds, confidence=CONFIDENCE)[0],
        "normal": mean - 1.645 * deviation,
        "bootstrap": np.quantile(again, 0.05, axis=0),
    }
    return Rival(situation, n, **{m: float(np.mean(ends > truth)) for m, ends in low.items()})


def all_rivals(runs: int) -> Iterator[Rival]:
    """Where flips are rare, where tasks have several samples, and pass@k."""
    ternary, ten = np.array([-1.0, 0.0, 1.0]), np.arange(-10, 11) / 10
    rates = np.random.default_rng(0).beta(*RATES["either-or"], 20_000)
    at_5 = np.array([stats.pass_at_k(10, c, 5) for c in range(11)])
    passes = binomial(10, rates).mean(axis=0)
    for n in (20, 88, 164):
        rare = np.array([MARGIN, 1 - MARGIN, 0])
        yield rivals("3% lost, none gained", n, ternary, rare, -MARGIN, runs)
        few = differences(10, "weak", MARGIN, "concentrated")
        yield rivals("10 samples, weak, 3 points lost", n, ten, few, -MARGIN, runs)
        yield rivals("pass@5 of 10 samples", n, at_5, passes, float(passes @ at_5), runs)


def broken(cell: Cell, runs: int) -> list[str]:
    """The promises that a cell breaks, beyond what so few runs show by luck alone."""

    def luck(share: float) -> float:
        return share + 3.3 * math.sqrt(share * (1 - share) / runs)

    found = []
    if cell.drop == 0 and cell.reject > 0.05:
        found.append(f"rejects {cell.reject:.1%} without a difference")
    if cell.drop == 2 * MARGIN and cell.accept > 0.05:
        found.append(f"accepts {cell.accept:.1%} at twice the margin")
    if cell.drop == MARGIN and cell.accept > luck(0.05):
        found.append(f"accepts {cell.accept:.1%} at the margin")
    if 1 - cell.covered > luck(1 - CONFIDENCE + DISCRETE):
        found.append(f"holds the truth in {cell.covered:.1%} only")
    return [f"{cell.situation}, {cell.n} tasks, drop {cell.drop:.0%}: {f}" for f in found]


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], markdown: bool) -> str:
    """Rows under their heads, for a terminal or in Markdown."""
    if markdown:
        lines = [heads, ["---"] * len(heads), *rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [
        [text.rjust(w) for text, w in zip(line, widths, strict=True)] for line in (heads, *rows)
    ]
    return "\n".join("  ".join(line) for line in lines)


def shown(rows: Sequence[Sequence[Cell]], markdown: bool) -> str:
    """One row for each situation and number of tasks, the drops side by side."""
    drops = ("0", "margin", "2 x margin")
    heads = ["situation", "tasks", "rejects at 0", *(f"accepts at {drop}" for drop in drops)]
    heads += [f"covers at {drop}" for drop in drops]
    lines = []
    for row in rows:
        shares = [row[0].reject, *(c.accept for c in row), *(c.covered for c in row)]
        lines.append([row[0].situation, str(row[0].n), *(f"{share:.1%}" for share in shares)])
    return table(heads, lines, markdown)


def power(markdown: bool) -> str:
    """The smallest drop that tasks show, and the tasks that accept, by the share of flips."""
    heads = ["flips", *(f"{n} tasks" for n in TASKS), "tasks to accept no drop"]
    rows = []
    for flips in (0.02, 0.05, 0.1, 0.15, 0.2):
        drops = [100 * stats.smallest_detectable_drop(n, flips) for n in TASKS]
        needed = stats.tasks_needed(0.0, flips, 1, MARGIN)
        rows.append([f"{flips:.0%}", *(f"{drop:.1f}" for drop in drops), f"{needed:,}"])
    return table(heads, rows, markdown)


def main() -> int:
    """Print all tables; 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--markdown", action="store_true")
    args = parser.parse_args()
    one = simulated(
        {f"{share:.0%} flips": [flips(share, drop) for drop in DROPS] for share in FLIPS}, args.runs
    )
    several = simulated(
        {
            f"{k} samples, {shape}, {kind}": [differences(k, shape, drop, kind) for drop in DROPS]
            for shape, kind, k in itertools.product(RATES, KINDS, SAMPLES)
        },
        args.runs,
    )
    told = [
        ("Smallest drop shown, in points (power 0.8)", power(args.markdown)),
        ("One answer for each task", shown(one, args.markdown)),
        ("Several samples of each task", shown(several, args.markdown)),
        ("Lower end of a 90% interval beyond the truth (5% promised)", compared(args)),
    ]
    for title, text in told:
        print(f"{'## ' if args.markdown else ''}{title}\n\n{text}\n")
    faults = [
        fault for row in (*one, *several) for cell in row for fault in broken(cell, args.runs)
    ]
    print(worst([*one, *several]))
    print("\n".join(faults) or "every promise is kept")
    return 1 if faults else 0


def worst(rows: Sequence[Sequence[Cell]]) -> str:
    """The largest share of each kind of error, in one line."""
    none, margin, twice = zip(*rows, strict=True)
    return (
        f"worst: without a difference {max(c.reject for c in none):.1%} rejected; at the margin "
        f"{max(c.accept for c in margin):.1%} and at twice the margin "
        f"{max(c.accept for c in twice):.1%} accepted; least coverage "
        f"{min(c.covered for row in rows for c in row):.1%}"
    )


def compared(args: argparse.Namespace) -> str:
    """The table of intervals side by side."""
    rows = [
        [r.situation, str(r.n), *(f"{share:.1%}" for share in (r.score, r.normal, r.bootstrap))]
        for r in all_rivals(args.runs)
    ]
    return table(["situation", "tasks", "score", "normal", "bootstrap"], rows, args.markdown)


if __name__ == "__main__":
    raise SystemExit(main())
