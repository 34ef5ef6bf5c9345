"""From answers, as models give them, to programs."""

from __future__ import annotations

import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tasks.running import passes

from lichen import tasks
from lichen.tasks import Task, program, render
from lichen.tasks.extraction import MAX_CHARACTERS

TASK = Task(
    id="t/triple",
    prompt='import math\n\n\ndef triple(x: int) -> int:\n    """Three times x."""\n',
    entry_point="triple",
    reference="",
    test="assert [triple(x) for x in (0, 2, -1)] == [0, 6, -3]\n",
    preamble="import math\n",
)
PROMPT = render(TASK, "completion")

WHOLE = "def triple(x):\n    return 3 * x\n"
BODY = "    return 3 * x\n"

GOOD = {
    "body": BODY,
    "no-final-newline": "    return 3 * x",
    "body-then-fence": f"{BODY}```\nThis multiplies.\n\n```python\nprint(triple(1))\n```",
    "unclosed-string-after-fence": f"{BODY}```\nIt's done",
    "windows-lines": "    y = x\r\n    return 3 * y\r\n",
    "old-mac-lines": "    y = x\r    return 3 * y\r",
    "indent-one-short": "   return 3 * x\n",
    "indent-one-over": "     return 3 * x\n",
    "first-line-at-margin": "y = x\n    return 3 * y\n",
    "first-return-at-margin": "return 3 * x\n",
    "all-at-margin": "y = x\nif y:\n    y = 2 * y + x\nreturn y\n",
    "blank-lines-first": f"\n\n{BODY}",
    "unfinished-statement": f"{BODY}\n\ndef helper(y):\n    return (y +",
    "unfinished-docstring": f'{BODY}\n\ndef helper(y):\n    """Not',
    "helper-behind": "    return times(x)\n\n\ndef times(y):\n    return 3 * y\n",
    "constant-behind": "    return FACTOR * x\n\n\nFACTOR = 3\n",
    "typed-constant-behind": "    return FACTOR * x\n\n\nFACTOR: int = 3\n",
    "nested-function": "    def inner(y):\n        return 3 * y\n\n    return inner(x)\n",
    "import-used-from-prompt": "    return math.floor(3 * x)\n",
    "fenced-whole": f"```python\n{WHOLE}```",
    "fenced-whole-needs-import": "```python\ndef triple(x):\n    return math.floor(3 * x)\n```",
    "fenced-with-prose": f"Sure! Here it is:\n\n```python\n{WHOLE}```\nEnjoy.",
    "fenced-body": f"Here is the body:\n```python\n{BODY}```",
    "fence-without-language": f"```\n{WHOLE}```",
    "fence-unclosed": f"```python\n{WHOLE}",
    "fence-indented": f"  ```python\n{WHOLE}  ```",
    "second-block": f"First:\n```\npip install x\n```\nThen:\n```py\n{WHOLE}```",
    "whole-again": WHOLE,
    "whole-again-after-prose": f"The function:\n\n{WHOLE}\nIt multiplies x.",
    "whole-again-after-helper": f"async def other():\n    pass\n\n\n{WHOLE}",
    "main-guard": f"{BODY}\nif __name__ == '__main__':\n    triple(input())\n",
    "prints": f"{BODY}\nprint(triple('a') + 1)\n",
    "wrong-asserts": f"{BODY}\nassert triple(1) == 4\n",
    "reads-input": f"{BODY}\nn = int(input())\nprint(triple(n))\n",
    "two-on-a-line": f"{BODY}\nprint(1); 1 / 0\n1 / 0\n\n\ndef helper():\n    pass\n",
    "line-ends-that-are-none": f"    s = '\u2028\x0c\x85'\n{BODY}\n1 / 0\nA = s = 1\n",
    "loop-of-tests": f"{BODY}\nfor n in range(3):\n    assert triple(n) == n\n",
    "text-that-looks-like-a-stop": f'    s = """\nprint(x)\nassert 0\nif __name__"""\n{BODY}',
}


@pytest.mark.parametrize("answer", GOOD.values(), ids=GOOD.keys())
def test_right_answer_is_found(answer: str) -> None:
    assert passes(TASK, program(TASK, PROMPT, answer)), program(TASK, PROMPT, answer)


def test_whole_answer_keeps_its_own_imports() -> None:
    answer = "```python\nfrom operator import mul\n\ndef triple(x):\n    return mul(3, x)\n```"
    found = program(TASK, PROMPT, answer)
    assert found.startswith("import math\nfrom operator import mul\n")
    assert passes(TASK, found)


def test_text_that_looks_like_a_stop_is_kept_whole() -> None:
    answer = GOOD["text-that-looks-like-a-stop"]
    assert program(TASK, PROMPT, answer) == PROMPT.prefix + answer


def test_half_a_body_is_gone_on_with_or_replaced() -> None:
    prefix = PROMPT.prefix + "    total = 0\n    for _ in range(3):\n"
    half = render(Task("t", prefix, "triple", "r", "t"), "completion")
    for answer in [
        "        total += x\n    return total\n",
        GOOD["fenced-whole"],
        GOOD["whole-again"],
    ]:
        assert passes(TASK, program(TASK, half, answer))
    assert passes(TASK, program(TASK, half, "       total += x\n    return total\n"))


BAD = {
    "nothing": "",
    "blank": "\n  \n",
    "refusal": "I cannot help with that.",
    "other-function": "```python\ndef quadruple(x):\n    return 4 * x\n```",
    "syntax-error": "    return 3 x\n",
    "null-byte": "    return \0\n",
    "surrogate": "    return '\ud800'\n",
    "too-deep": "    return " + "(" * 5000,
    "endless": "    x\n" * MAX_CHARACTERS,
    "only-fence": "```",
}


@pytest.mark.parametrize("answer", BAD.values(), ids=BAD.keys())
def test_answer_without_a_solution_still_gives_a_program(answer: str) -> None:
    found = program(TASK, PROMPT, answer)
    assert "def triple(" in found
    assert len(found) <= MAX_CHARACTERS + len(PROMPT.prefix) + 10


@pytest.mark.parametrize("name", ["basics", "humaneval"])
def test_references_come_through_however_they_are_given(name: str) -> None:
    for task in tasks.load(name).tasks:
        prompt = render(task, "completion")
        body = task.reference[len(task.prompt) :]
        for answer in [
            body,
            f"{body}\n\nprint({task.entry_point}())\nassert False\n",
            f"{body.rstrip()}\n```\nDone.",
            f"```python\n{task.reference}\n```",
            textwrap.dedent(body) if name == "basics" else body,
        ]:
            found = program(task, prompt, answer)
            if answer == body:
                assert found == prompt.prefix + body
            assert passes(task, found), (task.id, answer)


@settings(max_examples=300)
@given(
    st.lists(
        st.sampled_from(
            ["    return 3 * x", "```python", "```", "def triple(x):", "print(1)", "", "x = (",
             "text", "\tif x:", "'''", "        y = 1", "\r", "é", "@", "import math"]
        )
    ).map("\n".join)
)  # fmt: skip
def test_any_answer_gives_a_program_and_never_an_error(answer: str) -> None:
    found = program(TASK, PROMPT, answer)
    assert "def triple(" in found
    if found != PROMPT.prefix + answer.replace("\r", "\n"):
        _ = found.encode()
