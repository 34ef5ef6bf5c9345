from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.sandbox.conftest import LEVEL

from lichen.sandbox import Job, Limits, Result, Sandbox

Run = Callable[..., Result]
NEEDS_NAMESPACES = pytest.mark.skipif(LEVEL == "reduced", reason="the level is only reduced")
RIGHT = "def f(x):\n    return x + 1\n"


@pytest.mark.parametrize(
    ("program", "test", "verdict", "detail"),
    [
        pytest.param(RIGHT, "assert f(1) == 2", "passed", "", id="right"),
        pytest.param(RIGHT, "assert candidate(1) == 2", "passed", "", id="by-the-other-name"),
        pytest.param(RIGHT, "assert f(1) == 3", "failed", "in: assert f(1) == 3", id="wrong"),
        pytest.param("def f(x): return 1 / 0", "f(1)", "error", "ZeroDivision", id="raises"),
        pytest.param("def f(x): 1 1", "f(1)", "error", "SyntaxError", id="does-not-compile"),
        pytest.param("import nothing_such", "f(1)", "error", "nothing_such", id="bad-import"),
        pytest.param("def g(x): return x", "f(1)", "error", "does not define f", id="no-entry"),
        pytest.param("f = 3", "f(1)", "error", "does not define f", id="entry-not-callable"),
        pytest.param("def f(x):\n while x: pass", "f(1)", "timeout", "CPU", id="endless-loop"),
        pytest.param("while 1: pass", "f(1)", "timeout", "CPU", id="endless-load"),
        pytest.param(RIGHT, "while True: pass", "timeout", "the tests", id="endless-tests"),
        pytest.param(
            "import time\ndef f(x): time.sleep(99)", "f(1)", "timeout", "asleep", id="asleep"
        ),
        pytest.param("def f(x): return 'a' * (1 << 34)", "f(1)", "memory", "Memory", id="memory"),
        pytest.param("def f(x): return 'a' * (1 << 25)", "f(1)", "output_limit", "", id="value"),
        pytest.param(
            "def f(x):\n while 1: print('x' * 999)", "f(1)", "output_limit", "", id="prints"
        ),
        pytest.param("import os\ndef f(x): os._exit(0)", "f(1)", "crashed", "code 0", id="exits"),
        pytest.param("import os\ndef f(x): os.abort()", "f(1)", "crashed", "SIGABRT", id="aborts"),
        pytest.param("def f(x): raise SystemExit", "f(1)", "error", "SystemExit", id="sys-exit"),
        pytest.param(RIGHT, "def (", "refused", "task itself", id="broken-tests"),
        pytest.param("#" * (5 << 20), "f(1)", "refused", "characters", id="huge-source"),
        pytest.param("f = 1\0", "f(1)", "error", "null", id="null-byte"),
        pytest.param("def f(x): return '\udc80'", "f(1)", "error", "surrogate", id="surrogate"),
    ],
)
def test_each_ending_has_its_verdict(
    run: Run, program: str, test: str, verdict: str, detail: str
) -> None:
    result = run(program, test)
    assert result.verdict == verdict, result
    assert detail in result.detail
    assert not result.forgeable


@pytest.mark.parametrize(
    ("program", "test"),
    [
        pytest.param("def f(x): x.append(1)", "a = [0]; f(a); assert a == [0, 1]", id="mutated"),
        pytest.param(
            "def f(x): x[0].append(1)",
            "row = []; a = [row, row]; f(a); assert row == [1] and a[1] is row",
            id="mutated-inside",
        ),
        pytest.param("def f(x): return x", "a = {'k': [1]}; assert f(a) is a", id="identity"),
        pytest.param("def f(x): x.append(x)", "a = []; f(a); assert a[0] is a", id="cycle"),
        pytest.param(
            "def f(x):\n x.clear()\n raise KeyError('k')",
            "a = {1}\ntry: f(a)\nexcept KeyError as e: assert e.args == ('k',) and a == set()\n"
            "else: assert False",
            id="mutated-then-raised",
        ),
        pytest.param(
            "class Odd(ValueError): pass\ndef f(x): raise Odd('no')",
            "try: f(1)\nexcept ValueError as e: assert str(e) == 'no'\nelse: assert False",
            id="own-exception-as-its-builtin-base",
        ),
        pytest.param(
            "def f(x):\n while True:\n  yield x\n  x += 1",
            "g = f(3); assert [next(g), next(g)] == [3, 4]",
            id="endless-generator",
        ),
        pytest.param("def f(x): return map(str, x)", "assert list(f([1])) == ['1']", id="map"),
        pytest.param(
            "def f(x): return sum(x)", "assert f(i for i in (1, 2)) == 3", id="generator-argument"
        ),
        pytest.param(
            "def f(g, x): return g(g(x))", "assert f(lambda v: v + 1, 1) == 3", id="lambda-argument"
        ),
        pytest.param("def f(g, x): return g(x)", "assert f(len, 'ab') == 2", id="builtin-argument"),
        pytest.param("def f(t): return t('7')", "assert f(int) == 7", id="type-argument"),
        pytest.param(
            "def f(n):\n def add(m): return n + m\n return add", "assert f(1)(2) == 3", id="closure"
        ),
        pytest.param(
            "from functools import cache\n@cache\ndef f(n): return n",
            "assert f(n=2) == 2",
            id="cache",
        ),
        pytest.param(
            "from collections import namedtuple\nP = namedtuple('P', 'a b')\n"
            "def f(x): return P(x, 2)",
            "assert f(1) == (1, 2)",
            id="named-tuple",
        ),
        pytest.param(
            "def f(x): return x * 10 ** 5000", "assert f(3) == 3 * 10 ** 5000", id="large-int"
        ),
        pytest.param(
            "import threading\ndef f(x):\n t = threading.Thread(target=x.append, args=(1,))\n"
            " t.start()\n t.join()",
            "a = []; f(a); assert a == [1]",
            id="thread",
            marks=NEEDS_NAMESPACES,
        ),
        pytest.param(
            "def f(x):\n open('a.txt', 'w').write(x)\n return open('a.txt').read()",
            "assert f('hello') == 'hello'",
            id="own-file",
            marks=NEEDS_NAMESPACES,
        ),
        pytest.param(
            "import colorsys\ndef f(x): return colorsys.rgb_to_hsv(0, 0, x)",
            "assert f(1)[2] == 1",
            id="stdlib-not-preloaded",
        ),
        pytest.param(
            "from dataclasses import dataclass\n@dataclass\nclass P:\n a: int\n"
            "def f(x): return P(x).a",
            "assert f(1) == 1",
            id="dataclass",
        ),
    ],
)
def test_ordinary_programs_pass_split(run: Run, program: str, test: str) -> None:
    result = run(program, test)
    assert (result.verdict, result.forgeable) == ("passed", False), result


@pytest.mark.parametrize(
    "use",
    [
        "__import__('base64').b64encode(x)",
        "__import__('bz2').compress(x)",
        "__import__('gzip').compress(x)",
        "__import__('hashlib').pbkdf2_hmac('sha256', x, x, 1)",
        "__import__('lzma').compress(x)",
        "__import__('secrets').token_bytes(3)",
        "__import__('sqlite3').connect(':memory:').execute('select 1').fetchall()",
        "__import__('zipfile').ZIP_DEFLATED",
        "__import__('zlib').crc32(x)",
    ],
)
def test_the_standard_library_over_shared_libraries_works(run: Run, use: str) -> None:
    result = run(f"def f(x):\n    return bool({use})", "assert f(b'some bytes')")
    assert result.verdict == "passed", result


def test_helpers_come_from_the_preamble(run: Run) -> None:
    program = "def helper(x): return 0\ndef f(x): return x"
    preamble = "def helper(x): return x * 2"
    assert run(program, "assert helper(f(2)) == 4", preamble).verdict == "passed"


@pytest.mark.parametrize(
    "test",
    [
        pytest.param("class A: pass\na = A()\nassert f(a) is a", id="argument-of-an-own-class"),
        pytest.param("assert f(Node(1)).value == 1", id="class-of-the-program"),
    ],
)
def test_what_cannot_be_split_runs_in_one_process_and_says_so(run: Run, test: str) -> None:
    program = "class Node:\n def __init__(self, v): self.value = v\ndef f(x): return x"
    result = run(program, test)
    assert (result.verdict, result.forgeable) == ("passed", True)
    assert "one process" in result.detail
    assert run(program, test + "\nassert False").verdict == "failed"


@pytest.mark.parametrize(
    ("program", "test"),
    [
        pytest.param("def f(x): return object", "assert f(f(1)()) == 2", id="a-class"),
        pytest.param("def f(x): return type", "assert f(f(1)(f)) == 2", id="the-class-of-classes"),
        pytest.param(
            "import collections\ndef f(x): return collections.defaultdict(object)",
            "assert f(f(1)[0]) == 2",
            id="a-default",
        ),
        pytest.param(
            "from datetime import *\ndef f(x): return datetime.now(UTC)",
            "assert f(f(1).tzinfo) == 2",
            id="a-time-zone",
        ),
    ],
)
def test_no_answer_brings_the_tests_into_the_program_s_process(
    run: Run, program: str, test: str
) -> None:
    result = run(program, test)
    assert (result.verdict, result.forgeable) == ("failed", False), result


@pytest.mark.parametrize(
    ("program", "test"),
    [
        pytest.param(
            "def f(x): raise TypeError",
            "try: result = f(1)\nexcept TypeError: pass\nassert result == 3",
            id="a-variable-left-unset",
        ),
        pytest.param(
            "def f(x): raise TypeError",
            "def check():\n try: result = f(1)\n except TypeError: pass\n"
            " assert result == 3\ncheck()",
            id="a-local-variable-left-unset",
        ),
        pytest.param("def f(x): return []", "for last in f(1): pass\nassert last == 3", id="loop"),
        pytest.param(
            "def f(x): return []",
            "match f(1):\n case [first, *_]: pass\nassert first == 3",
            id="a-pattern-that-does-not-match",
        ),
        pytest.param(
            "def f(x): return 1",
            "try: f(1)\nexcept ValueError as error: pass\nassert error",
            id="an-exception-not-raised",
        ),
    ],
)
def test_no_name_left_unbound_brings_them_together(run: Run, program: str, test: str) -> None:
    result = run(program, test)
    assert (result.verdict, result.forgeable) == ("failed", False), result


HANDS_OVER = "assert f(f(3)) == 3"  # what the program gives is given back to it


def test_where_the_reference_can_be_kept_apart_a_program_is_not_asked(sandbox: Sandbox) -> None:
    odd = "class A(int): pass\ndef f(x): return x if type(x) is A else object"
    forging = 'import os\ndef f(x): os.write(4, b\'["passed",""]\\n\') or os._exit(0)'
    test = "class A: pass\nassert f(A if f(1) == 2 else 1) == 3"
    right = "def f(x): return 3"
    wrong = "def f(x): return 2"
    jobs = [Job(wrong, "f", test, reference=right), Job(wrong, "f", test)]
    jobs += [Job(forging, "f", test, reference=right), Job(odd, "f", HANDS_OVER, reference=right)]
    results = dict(sandbox.run(jobs))
    assert (results[0].verdict, results[0].forgeable) == ("failed", False), results[0]
    assert "argument of type" in results[0].detail
    assert results[1].forgeable
    assert results[2].verdict != "passed"
    assert not results[2].forgeable
    assert (results[3].verdict, results[3].forgeable) == ("failed", False), results[3]


def test_where_the_reference_cannot_be_kept_apart_no_program_is(sandbox: Sandbox) -> None:
    test = "class A: pass\na = A()\nassert f(a) is a"
    [(_, result)] = sandbox.run(
        [Job("def f(x): return x", "f", test, reference="def f(x):return x")]
    )
    assert (result.verdict, result.forgeable) == ("passed", True), result


@pytest.mark.parametrize("line", ['["unsplit",""]', '["gone",""]', '{"passed":1,"b":2}', "[[],0]"])
def test_in_one_process_a_program_cannot_make_up_a_verdict(run: Run, line: str) -> None:
    program = f"import os\ndef f(x):\n os.write(4, b'{line}\\n')\n os._exit(0)"
    result = run(program, "assert f(1) == 2", split=False)
    assert result.verdict in ("error", "crashed"), result


@pytest.mark.parametrize(
    ("program", "test"),
    [
        pytest.param(
            "def f(x): return x['new']",
            "from collections import defaultdict\nassert f(defaultdict(lambda: 5)) == 5",
            id="default-of-its-own",
        ),
        pytest.param(
            "def f(g): return g(1) is not None",
            "class A: pass\nassert f(lambda v: A())",
            id="function-with-its-own-answers",
        ),
    ],
)
def test_what_the_tests_hand_over_arrives_unchanged(run: Run, program: str, test: str) -> None:
    result = run(program, test)
    assert (result.verdict, result.forgeable) == ("passed", True), result


def test_event_loops_run(run: Run) -> None:
    program = """
import asyncio
async def later(x):
    await asyncio.sleep(0.001)
    return await asyncio.to_thread(lambda: x + 1)
async def both(x):
    return sum(await asyncio.gather(later(x), later(x)))
def f(x):
    return asyncio.run(both(x))
"""
    assert run(program, "assert f(1) == 4").verdict == "passed"


def test_the_order_of_a_set_is_the_same_in_every_process() -> None:
    order = "def f(x): return repr(list({None, int, len, 'a', 1.5, (None,), type(f)}))"
    seen = set()
    for _ in range(2):
        with Sandbox(workers=2) as sandbox:
            jobs = [Job(order, "f", "assert f(1) == 2, f(1)")] * 4
            seen |= {result.detail for _, result in sandbox.run(jobs)}
    assert len(seen) == 1, seen


def test_one_process_on_request_is_labelled(run: Run) -> None:
    assert run(RIGHT, "assert f(1) == 2", split=False).forgeable


@pytest.mark.parametrize(
    ("program", "verdict"),
    [
        ("def f(x): return x", "passed"),
        ("def f(x): return -x", "failed"),
        ("def f(x): 1 1", "error"),
        ("import os\nos._exit(0)", "crashed"),
        ("while 1: pass", "timeout"),
    ],
)
def test_verdicts_in_one_process(run: Run, program: str, verdict: str) -> None:
    assert run(program, "assert f(1) == 1", split=False).verdict == verdict


def test_a_detail_is_one_printable_line(run: Run) -> None:
    detail = run(r"def f(x): raise ValueError('\x1b[2J\n\r' + 'y' * 9999)", "f(1)").detail
    assert detail.isprintable()
    assert len(detail) <= 300


def test_results_carry_the_index_of_their_job(sandbox: Sandbox) -> None:
    jobs = [Job(f"def f(): return {i}", "f", f"assert f() == {i % 7}") for i in range(14)]
    verdicts = {i: result.verdict for i, result in sandbox.run(jobs)}
    assert verdicts == {i: "passed" if i < 7 else "failed" for i in range(14)}


def test_every_run_is_the_same(run: Run) -> None:
    program = "import random\ndef f(): return [random.random(), hash('a'), list({'b', 'c', 'd'})]"
    details = {run(program, "assert f() == 0, f()").detail for _ in range(3)}
    details |= {run(program + "\n", "assert f() == 0, f()").detail for _ in range(3)}
    first = run(program, "assert f() == 0, f()[:2]").detail
    assert first == run(program, "assert f() == 0, f()[:2]").detail
    assert len(details) == 1


@pytest.mark.parametrize("made", ["lambda: 0", "iter([1, 2])"])
def test_the_same_function_or_iterator_arrives_as_the_same(run: Run, made: str) -> None:
    one, two = f"one = {made}\ndef f(): return one", f"def f(): return {made}"
    assert run(one, "assert f() is f()").verdict == "passed"
    assert run(one, "assert f() is not f()").verdict == "failed"
    assert run(two, "a, b = f(), f()\nassert a is not b").verdict == "passed"


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="waiting is not counted here")
def test_sleep_in_small_pieces_adds_up() -> None:
    program = (
        "import time\ndef f(x):\n while True:\n  end = time.process_time() + 0.005\n"
        "  while time.process_time() < end: pass\n  time.sleep(0.05)"
    )
    with Sandbox(workers=1, limits=Limits(idle_seconds=0.3)) as sandbox:
        [(_, result)] = sandbox.run([Job(program, "f", "f(1)")])
    assert result.verdict == "timeout", result
    assert "in all" in result.detail


@NEEDS_NAMESPACES
def test_the_machine_s_name_is_hidden(run: Run) -> None:
    program = "import os\ndef f(): return os.uname().nodename"
    assert run(program, "assert f() == 'sandbox'").verdict == "passed"


def test_limits_are_per_sandbox() -> None:
    with Sandbox(workers=1, limits=Limits(memory_bytes=256 << 20, output_bytes=1000)) as small:
        jobs = [
            Job("def f(): return len(bytearray(400 << 20))", "f", "f()"),
            Job("def f(): print('x' * 2000, flush=True)", "f", "f()"),
            Job("def f(): return len(bytearray(100 << 20))", "f", "f()"),
        ]
        verdicts = {i: result.verdict for i, result in small.run(jobs)}
    assert verdicts == {0: "memory", 1: "output_limit", 2: "passed"}


def test_pairs_of_sockets_are_for_event_loops_alone(run: Run) -> None:
    program = "import asyncio, socket\ndef f(x): return socket.socketpair()"
    result = run(program, "f(1)")
    assert (result.verdict, "PermissionError" in result.detail) == ("error", True), result
