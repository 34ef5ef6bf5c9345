"""How often the verdict on correctness is right, by simulation.

    python bench/decision_rates.py [RUNS]

Each run draws a task set: the number of lost and gained tasks from their true shares.  What is
promised: no true difference is rejected in at most 5% of runs, a true drop of twice the margin
is accepted in at most 5%.
"""

from __future__ import annotations

import sys

import numpy as np

from lichen.stats import non_inferiority

TASKS = (5, 120, 164, 500, 974)
DISAGREEMENTS = (0.0, 0.02, 0.05, 0.1)  # share of tasks that flip without any true difference
DROPS = (0.0, 0.03, 0.06)
MARGIN = 0.03
PASS_RATE = 0.5


def rates(n: int, disagreement: float, drop: float, runs: int) -> dict[str, float]:
    """Share of runs that end in each decision.  A drop adds losses to the balanced flips."""
    gained, lost = disagreement / 2, disagreement / 2 + drop
    rng = np.random.default_rng([n, round(1000 * disagreement), round(1000 * drop)])
    shares = [lost, gained, 1 - lost - gained]
    counts = {"accept": 0, "undecided": 0, "reject": 0}
    for drawn_lost, drawn_gained, same in rng.multinomial(n, shares, runs).tolist():
        both = round(PASS_RATE * same)
        found = non_inferiority(both, drawn_lost, drawn_gained, same - both, margin=MARGIN)
        counts[found.decision] += 1
    return {decision: count / runs for decision, count in counts.items()}


def main() -> None:
    """Print the table; end with an error when a promise is broken."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    broken = []
    print(f"margin {MARGIN:.0%}, {runs} runs for each line")
    print("tasks  flips  drop   accept  undecided  reject")
    for drop in DROPS:
        for disagreement in DISAGREEMENTS:
            for n in TASKS:
                found = rates(n, disagreement, drop, runs)
                print(
                    f"{n:5} {disagreement:6.0%} {drop:5.0%} {found['accept']:8.1%}"
                    f" {found['undecided']:10.1%} {found['reject']:7.1%}"
                )
                wrong = {0.0: found["reject"], 2 * MARGIN: found["accept"]}.get(drop, 0.0)
                if wrong > 0.05:
                    broken.append(f"{n} tasks, {disagreement:.0%} flips, drop {drop:.0%}: {wrong}")
    if broken:
        sys.exit("promise broken:\n" + "\n".join(broken))


if __name__ == "__main__":
    main()
