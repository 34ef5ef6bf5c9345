"""The same prompts through llama.cpp: does lichen solve as many tasks with the same weights?

    python bench/llama_cpp.py MODEL.gguf --tasks humaneval --out build/llama --run RUN_FOLDER

Prompts, stop strings, extraction of the program, and judge are lichen's; only the tokens come
from llama.cpp, greedily, 256 at most.  --run names a folder of `lichen check` or `lichen verify`
on the same tasks: its reference is compared with llama.cpp task by task.  `make llama-cpp` makes
the environment that --python names.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

from lichen import stats
from lichen.checkpoint.registry import default_cache, resolve
from lichen.disk_model import DiskModel
from lichen.sandbox import Sandbox
from lichen.tasks import Prompt, Task, load, program, render
from lichen.verify.progress import Silent
from lichen.verify.questions import Question, judge, keep_sound

ANSWERS = Path(__file__).with_name("llama_answers.py")
ALLOWED = 0.04  # what another kernel's rounding may move


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSONL file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def generate(args: argparse.Namespace, path: Path, prompts: dict[str, Prompt]) -> dict[str, Any]:
    """llama.cpp's sample of each task; what was generated before is kept."""
    name = f"{path.stem}-{Path(args.tasks).name.replace(':', '-')}"
    asked, samples = args.out / f"{name}.prompts.jsonl", args.out / f"{name}.jsonl"
    args.out.mkdir(parents=True, exist_ok=True)
    lines = [
        {"task_id": task, "prompt": p.text, "stop": p.stop, "max_tokens": args.max_tokens}
        for task, p in prompts.items()
    ]
    asked.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    command = [args.python, "-P", ANSWERS, path, asked, samples, "--threads", str(args.threads)]
    subprocess.run(command, check=True)
    found = {(line["task_id"], line["prompt"]): line for line in read(samples)}
    return {task: found[task, prompt.text] for task, prompt in prompts.items()}


def verdicts(
    tasks: list[Task], prompts: dict[str, Prompt], samples: dict[str, Any], sandbox: Sandbox
) -> dict[str, bool]:
    """Which tasks llama.cpp's programs pass."""
    programs = [program(t, prompts[t.id], samples[t.id]["completion"]) for t in tasks]
    results = judge(sandbox, tasks, programs, Silent(), "")
    return {t.id: r.verdict == "passed" for t, r in zip(tasks, results, strict=True)}


def compare(run: Path, samples: dict[str, Any], passed: dict[str, bool]) -> bool:
    """Print lichen's reference beside llama.cpp; whether they are within what is allowed."""
    lines = {
        line["task"]: line
        for line in read(run / "completions.jsonl")
        if line["role"] == "reference" and line["perturbation"] is None and not line.get("sample")
    }
    shared = [task for task in passed if task in lines]
    if not shared:
        raise SystemExit(f"{run} has no answers of a reference to these tasks.")
    print(f"shared with {run}: {len(shared)} of {len(passed)} tasks")
    for key, other in (("prompt", "prompt"), ("prompt_tokens",) * 2, ("text", "completion")):
        equal = sum(lines[task][key] == samples[task][other] for task in shared)
        print(f"  same {key}: {equal}")
    lichen = {task: lines[task]["verdict"] == "passed" for task in shared}
    lost = [task for task in shared if passed[task] and not lichen[task]]
    gained = [task for task in shared if lichen[task] and not passed[task]]
    found = stats.tango_paired(len(lost), len(gained), len(shared))
    print(f"  llama.cpp {sum(passed[t] for t in shared)}, lichen {sum(lichen.values())} passed")
    print(f"  only llama.cpp passes {len(lost)}: {', '.join(lost)}")
    print(f"  only lichen passes {len(gained)}: {', '.join(gained)}")
    print(
        f"  lichen - llama.cpp: {100 * found.estimate:+.1f} points "
        f"(95% interval {100 * found.low:+.1f} to {100 * found.high:+.1f}), "
        f"McNemar p = {stats.mcnemar_exact(len(lost), len(gained)):.2f}"
    )
    within = abs(found.estimate) <= ALLOWED
    print(f"  {'within' if within else 'NOT within'} {stats.points(ALLOWED)}")
    return within


def main() -> int:
    """Ask, judge, compare; 1 where the two differ by more than is allowed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a .gguf file, or a name that was fetched")
    parser.add_argument("--tasks", default="humaneval")
    parser.add_argument("--data", type=Path, help="folder of the task sets' files")
    parser.add_argument("--style", choices=("chat", "completion"))
    parser.add_argument("--python", type=Path, default=Path("build/llama-cpp/bin/python"))
    parser.add_argument("--out", type=Path, default=Path("build/llama-cpp-out"))
    parser.add_argument("--run", type=Path, help="a run folder with the reference's answers")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, default=256)
    args = parser.parse_args()
    path = resolve(args.model, cache=default_cache())
    model = DiskModel(path, threads=args.threads, isa=None)
    style = args.style or ("chat" if model.has_chat else "completion")
    chat = model.chat if model.has_chat else None
    with Sandbox() as sandbox:
        asked = [Question(args.tasks, task) for task in load(args.tasks, data=args.data).tasks]
        sound, _ = keep_sound(asked, sandbox, Silent(), "")
        tasks = [question.task for question in sound]
        prompts = {task.id: render(task, style, chat) for task in tasks}
        samples = generate(args, path, prompts)
        passed = verdicts(tasks, prompts, samples, sandbox)
    rate = stats.wilson(sum(passed.values()), len(passed))
    print(
        f"llama.cpp, {path.name}, {args.tasks}: {sum(passed.values())} of {len(passed)} passed, "
        f"pass@1 {rate.estimate:.1%} (95% interval {rate.low:.1%} to {rate.high:.1%})"
    )
    within = args.run is None or compare(args.run, samples, passed)
    return 0 if within else 1


if __name__ == "__main__":
    raise SystemExit(main())
