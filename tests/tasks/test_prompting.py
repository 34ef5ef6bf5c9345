"""What a model is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lichen.errors import InputError
from lichen.tasks import Task, render

TASK = Task(
    id="t/f",
    prompt='def f() -> int:\n    """One."""\n',
    entry_point="f",
    reference='def f() -> int:\n    """One."""\n    return 1\n',
    test="assert f() == 1\n",
)


def template(messages: list[dict[str, str]]) -> str:
    return "".join(f"<{m['role']}>{m['content']}</{m['role']}>" for m in messages) + "<assistant>"


def test_chat_asks_for_a_script_and_begins_the_answer_with_the_prompt() -> None:
    prompt = render(TASK, "chat", template)
    assert prompt.text == (
        "<user>Please write a self-contained Python script that solves the following problem, "
        "in one Markdown code block:\n"
        '```python\ndef f() -> int:\n    """One."""\n```</user><assistant>'
        "Here is a self-contained Python script that solves the problem and passes its tests:\n"
        '```python\ndef f() -> int:\n    """One."""\n'
    )
    assert prompt.prefix == TASK.prompt
    assert {"\n```", "\nif __name__", "\nprint(", "\nassert "} <= set(prompt.stop)


def test_completion_is_the_bare_prompt() -> None:
    prompt = render(TASK, "completion")
    assert prompt.text == prompt.prefix == TASK.prompt
    assert prompt.stop == ("\nclass ", "\ndef ", "\n#", "\nif ", "\nprint(", "\n@")


@pytest.mark.parametrize("ending", ["", "\n", "\n    ", "   "])
def test_prompt_ends_with_a_line_end_and_no_half_indentation(ending: str) -> None:
    task = replace(TASK, prompt=TASK.prompt.rstrip() + ending)
    assert render(task, "completion").text == TASK.prompt


def test_chat_without_a_template_is_refused() -> None:
    with pytest.raises(InputError, match="no chat template"):
        render(TASK, "chat", None)
