"""Statistics for two models on the same tasks: intervals, paired tests, power, the decision.

Differences are always candidate minus reference, as fractions: -0.05 is a drop of five points.
"""

from lichen.stats.bootstrap import paired_bootstrap
from lichen.stats.decision import non_inferiority, paired_means
from lichen.stats.finding import Decision, NonInferiority, points
from lichen.stats.interval import Interval
from lichen.stats.paired import mcnemar_exact, newcombe_paired, tango_paired
from lichen.stats.permutation import paired_permutation
from lichen.stats.power import smallest_detectable_drop, tasks_needed
from lichen.stats.proportions import mean_pass_at_k, pass_at_k, wilson
from lichen.stats.score import score_interval

__all__ = [
    "Decision",
    "Interval",
    "NonInferiority",
    "mcnemar_exact",
    "mean_pass_at_k",
    "newcombe_paired",
    "non_inferiority",
    "paired_bootstrap",
    "paired_means",
    "paired_permutation",
    "pass_at_k",
    "points",
    "score_interval",
    "smallest_detectable_drop",
    "tango_paired",
    "tasks_needed",
    "wilson",
]
