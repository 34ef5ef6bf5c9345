"""A realistic run, small enough to read: 143 tasks, an int8 candidate, all three axes."""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from lichen import stats
from lichen.measure.reading import Reading
from lichen.verify import record as r

HOSTILE = (
    "</pre></script><script>alert(1)</script><img src=x onerror=alert(2)>\x00\x1b[2J {{ 7*7 }}"
)

_RIGHT = '''def running_max(numbers):
    """Return the running maximum of a list of numbers."""
    result = []
    best = None
    for number in numbers:
        if best is None or number > best:
            best = number
        result.append(best)
    return result
'''
_WRONG = _RIGHT.replace("best = None", "best = 0").replace("best is None or ", "")


def build(
    folder: Path,
    *,
    lost: int = 3,
    gained: int = 2,
    both: int = 68,
    neither: int = 70,
    margin: float = 0.03,
    robustness: bool = True,
    divergence: bool = True,
    resources: bool = True,
    hostile: bool = False,
    samples: int = 1,
    forgeable: bool = False,
) -> r.Record:
    """Write a run into ``folder`` and return its record."""
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"both": both, "lost": lost, "gained": gained, "neither": neither}
    tasks = _tasks(counts)
    made = _record(tasks, counts, margin, robustness, divergence, resources, hostile)
    if samples > 1:
        made = _sampled(made, tasks, samples, margin)
    if forgeable:
        axis = msgspec.structs.replace(made.correctness[0], forgeable=list(tasks)[-2:])
        made = msgspec.structs.replace(made, correctness=[axis])
    (folder / "record.json").write_bytes(msgspec.json.encode(made))
    lines = [
        msgspec.json.encode(
            msgspec.structs.replace(
                _completion(role, task, kind, hostile, sample), forgeable=forgeable
            )
        )
        for task, kind in tasks.items()
        for role in ("reference", "candidate")
        for sample in range(samples)
    ]
    (folder / "completions.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    return made


def _tasks(counts: dict[str, int]) -> dict[str, str]:
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    return {f"basics/{i:03d}_running_max": kind for i, kind in enumerate(kinds)}


def _verdict(role: str, kind: str) -> str:
    passes = kind == "both" or kind == ("lost" if role == "reference" else "gained")
    return "passed" if passes else "failed"


def _sampled(made: r.Record, tasks: dict[str, str], samples: int, margin: float) -> r.Record:
    """The record with several samples of each task, of which the first half are as the one was."""
    axis = made.correctness[0]
    outcomes = [
        r.TaskOutcome(
            task=task,
            reference=[_of_sample("reference", kind, i) for i in range(samples)],
            candidate=[_of_sample("candidate", kind, i) for i in range(samples)],
        )
        for task, kind in tasks.items()
    ]
    passed = {
        role: [getattr(o, role).count("passed") for o in outcomes]
        for role in ("reference", "candidate")
    }
    shares = [[c / samples for c in side] for side in passed.values()]
    test = stats.paired_means(*shares, margin=margin)
    pass_at = [
        r.PassAt(
            k=k,
            **{
                role: _interval(stats.mean_pass_at_k([samples] * len(side), side, k))
                for role, side in passed.items()
            },
            difference=_interval(test.interval),
        )
        for k in sorted({1, samples})
    ]
    axis = msgspec.structs.replace(
        axis,
        samples=samples,
        outcomes=outcomes,
        reference=pass_at[0].reference,
        candidate=pass_at[0].candidate,
        difference=_interval(test.interval),
        pass_at=pass_at,
        test=test.test,
        p_value=test.p_value,
        decision=test.decision,
        reason=test.reason,
    )
    settings = made.settings | {"samples": samples, "temperature": 0.8, "top_p": 0.95}
    return msgspec.structs.replace(made, correctness=[axis], settings=settings)


def _of_sample(role: str, kind: str, sample: int) -> str:
    return _verdict(role, kind if sample % 2 == 0 else "both" if kind == "both" else "neither")


def _completion(
    role: str, task: str, kind: str, hostile: bool, sample: int = 0
) -> r.CompletionRecord:
    verdict = _of_sample(role, kind, sample)
    program = _RIGHT if verdict == "passed" else _WRONG
    text = program + (f"\n# {HOSTILE}" if hostile else "")
    prompt = "<|im_start|>user\nWrite a function that returns the running maximum.<|im_end|>\n"
    return r.CompletionRecord(
        role=role,  # type: ignore[arg-type]
        model_digest="ab" * 32,
        tasks="basics",
        task=task,
        perturbation=None,
        seed=None,
        sample=sample,
        prompt=prompt,
        prompt_sha256=hashlib.sha256(prompt.encode()).hexdigest(),
        text=text,
        program=text,
        finish_reason="stop",
        prompt_tokens=71,
        tokens=64,
        verdict=verdict,
        detail="" if verdict == "passed" else "AssertionError: running_max([-3, -1]) == [-3, -1]",
    )


def _interval(found: stats.Interval) -> r.Interval:
    return r.Interval(**vars(found))


def _record(
    tasks: dict[str, str],
    counts: dict[str, int],
    margin: float,
    robustness: bool,
    divergence: bool,
    resources: bool,
    hostile: bool,
) -> r.Record:
    n = len(tasks)
    both, lost, gained, neither = (counts[k] for k in ("both", "lost", "gained", "neither"))
    test = stats.non_inferiority(both, lost, gained, neither, margin=margin)
    correctness = r.Correctness(
        tasks="basics",
        source="lichen's own tasks, from one line to small algorithms",
        style="chat",
        count=n,
        excluded=[r.Exclusion(task="basics/144", reason="its reference fails here: timeout")],
        reference=_interval(stats.wilson(both + lost, n)),
        candidate=_interval(stats.wilson(both + gained, n)),
        outcomes=[
            r.TaskOutcome(
                task=t, reference=[_verdict("reference", k)], candidate=[_verdict("candidate", k)]
            )
            for t, k in tasks.items()
        ],
        lost=[t for t, k in tasks.items() if k == "lost"],
        gained=[t for t, k in tasks.items() if k == "gained"],
        p_value=test.p_value,
        difference=_interval(test.interval),
        margin=margin,
        decision=test.decision,
        reason=test.reason,
        smallest_detectable_drop=stats.smallest_detectable_drop(n, (lost + gained) / n),
        tasks_needed=test.tasks_needed,
        forgeable=[],
    )
    name = HOSTILE if hostile else "Qwen2.5-Coder-0.5B-Instruct"
    return r.Record(
        created="2026-11-23T19:03:25+00:00",
        duration_seconds=312.4,
        command="lichen check qwen2.5-coder-0.5b --out run",
        reference=_model("reference", name, "dequantized Q4_K_M", 6.44),
        candidate=_model("candidate", f"{name}-int8", "int8", 8.02),
        machine=r.Machine(
            processor="AMD EPYC 9755 128-Core Processor",
            cores=2,
            threads=2,
            isa="avx512_vnni",
            memory_bytes=25_276_510_208,
            system="Linux 6.18.44 x86_64",
            python="CPython 3.11.7",
            lichen="0.1.0",
        ),
        sandbox_level="full",
        unsafe=False,
        settings={"tasks": "basics", "margin": margin, "max_tokens": 256, "seed": 0, "isa": None},
        correctness=[correctness],
        robustness=_robustness(n) if robustness else None,
        divergence=_divergence() if divergence else None,
        resources=_resources() if resources else None,
        verdict=r.Verdict(
            decision=test.decision,
            summary=f"On basics it passes {(both + gained) / n:.1%} of {n} tasks, the original "
            f"{(both + lost) / n:.1%}; it lost {lost} and gained {gained}. Its files are 1.2 times "
            "larger, its speed for one user is 2.1 times the original's.",
            reasons=[f"basics: {test.reason}"],
            warnings=[
                "Robustness is undecided on 139 tasks; it does not count against the "
                "candidate, and not for it."
            ],
        ),
    )


def _model(role: r.Role, name: str, scheme: str, bits: float) -> r.ModelRecord:
    return r.ModelRecord(
        role=role,
        name=name,
        description=f"Qwen2.5-Coder-0.5B-Instruct, {scheme}",
        path=f"models/{scheme.replace(' ', '-')}",
        digest=hashlib.sha256(scheme.encode()).hexdigest(),
        scheme=scheme,
        parameters=494_032_768,
        bits_per_weight=bits,
    )


def _robustness(n: int) -> r.Robustness:
    changed = (
        ("butter_fingers", "docstring", 139, 66, 65, 61, 60, 3, 2),
        ("camel_case", "function_name", 121, 58, 57, 57, 57, 1, 1),
        ("rename_variable", "syntax", 97, 71, 72, 66, 65, 4, 3),
        ("tabs", "format", 143, 71, 70, 69, 70, 1, 2),
    )
    difference = stats.tango_paired(7, 5, n, 0.9)
    return r.Robustness(
        tasks="basics",
        count=n,
        perturbations=[
            r.PerturbationResult(
                name=name,
                category=category,
                seeds=[0],
                count=count,
                excluded=[],
                nominal_reference=a,
                nominal_candidate=b,
                robust_reference=c,
                robust_candidate=d,
                flips_reference=a - c + 2,
                flips_candidate=b - d + 2,
                lost=[f"basics/{i:03d}_running_max" for i in range(lost)],
                gained=[f"basics/{i:03d}_running_max" for i in range(10, 10 + gained)],
            )
            for name, category, count, a, b, c, d, lost, gained in changed
        ],
        reference_pass=_interval(stats.wilson(71, n)),
        candidate_pass=_interval(stats.wilson(70, n)),
        reference_robust_pass=_interval(stats.wilson(57, n)),
        candidate_robust_pass=_interval(stats.wilson(55, n)),
        reference_relative_drop=0.197,
        candidate_relative_drop=0.214,
        reference_flip_rate=0.061,
        candidate_flip_rate=0.066,
        difference=_interval(difference),
        mcnemar_p=stats.mcnemar_exact(7, 5),
        decision="undecided",
        reason="Of 143 tasks that pass however they are put, the candidate lost 7 and gained 5.",
    )


def _divergence() -> r.Divergence:
    return r.Divergence(
        text="Python code of this package",
        text_sha256="cd" * 32,
        tokens=4096,
        kld_mean=0.0031,
        kld_p99=0.0402,
        kld_max=0.61,
        top1_agreement=0.982,
        nll_reference=0.9182,
        nll_candidate=0.9197,
        nll_difference=0.0015,
        nll_difference_se=0.0009,
        kld_se=0.0004,
    )


def _resources() -> r.Resources:
    def measured(value: float, unit: str, spread: float = 0.0) -> Reading:
        low, high = (value * (1 - spread), value * (1 + spread)) if spread else (None, None)
        return Reading(
            value=value, unit=unit, kind="measured", source="timed here", low=low, high=high
        )

    def modelled(value: float, unit: str) -> Reading:
        return Reading(
            value=value,
            unit=unit,
            kind="modelled",
            source="CPU time x watts of a busy thread + memory held x watts per GB, idle apart",
            low=value * 0.7,
            high=value * 3.2,
        )

    def readings(bits: int) -> dict[str, Reading]:
        f = bits / 8
        return {
            "size": measured(397.8e6 if bits == 16 else 495.1e6, "B"),
            "load_time": measured(0.9 * f, "s"),
            "peak_memory": measured(0.65e9 * f, "B"),
            "first_token": measured(0.21 * f, "s", 0.06),
            "decode_speed": measured(42.0 / f, "tok/s", 0.04),
            "batch_speed": measured(231.0 / f, "tok/s"),
            "prefill_speed": measured(612.0 / f, "tok/s", 0.02),
            "cpu_per_token": measured(0.0086 * f, "s"),
            "energy_per_token": modelled(0.017 * f, "J"),
            "energy_per_solved_task": modelled(2.6 * f, "J"),
            "co2_per_solved_task": modelled(0.00034 * f, "g"),
            "idle_power": modelled(0.86, "W"),
        }

    return r.Resources(
        reference=readings(16),
        candidate=readings(8),
        assumptions=[
            "Power: 1.95 W for each busy hardware thread (1.37 to 6.26 W), taken from AMD EPYC, "
            "Zen 5 (9005).",
            "Electricity: 475 g CO2 per kWh (unknown place, 2018).",
        ],
    )
