"""Every rung of the ladder, reached by switching layers off or by a machine that refuses them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.sandbox.conftest import LEVEL, LIMITS
from tests.sandbox.test_lifecycle import CHILD, GOOD

import lichen.sandbox
from lichen.sandbox import Job, Limits, Sandbox, SandboxError, bubblewrap, probe
from lichen.sandbox.remedies import remedy

FOLDER = str(Path(lichen.sandbox.__file__).parent.parent)
NEEDS_FULL = pytest.mark.skipif(LEVEL != "full", reason=f"this machine allows only {LEVEL}")
NEEDS_BWRAP = pytest.mark.skipif(bubblewrap.find() is None, reason="bwrap is not installed")


@pytest.mark.parametrize(
    ("without", "level"),
    [
        ("", "full"),
        ("landlock", "strong"),
        ("namespaces", "reduced"),
        ("namespaces landlock", "reduced"),
        ("seccomp", "weak"),
        ("seccomp landlock", "weak"),
        ("seccomp namespaces landlock", "none"),
        ("limits", "none"),
    ],
)
@NEEDS_FULL
def test_each_rung_is_entered(without: str, level: str) -> None:
    layers = frozenset(without.split())
    with Sandbox(workers=1, limits=LIMITS, without=layers, unsafe=True) as sandbox:
        assert sandbox.level == level
        assert [r.verdict for _, r in sandbox.run([GOOD])] == ["passed"]
    if level == "weak":
        with Sandbox(workers=1, limits=LIMITS, without=layers, allow_weak=True) as sandbox:
            assert sandbox.level == level
    if level == "none":
        with pytest.raises(SandboxError, match=level):
            Sandbox(workers=1, without=layers, allow_weak=True).__enter__()
    if level in ("weak", "none"):
        with pytest.raises(SandboxError, match=level):
            Sandbox(workers=1, without=layers).__enter__()


@pytest.mark.parametrize(
    ("without", "attempt"),
    [
        ("namespaces", "__import__('os').path.exists('/usr')"),
        ("landlock namespaces seccomp", "bool(open('/proc/self/stat').read())"),
        ("seccomp", "__import__('os').setpgid(0, 0) is None"),
        ("limits", "__import__('resource').getrlimit(0)[0] != 1"),
    ],
)
@NEEDS_FULL
def test_a_layer_that_is_off_is_really_off(without: str, attempt: str) -> None:
    job = Job(f"def f(x): return {attempt}", "f", "assert f(0)")
    layers = frozenset(without.split())
    with Sandbox(workers=1, limits=LIMITS, without=layers, unsafe=True) as weaker:
        [(_, result)] = weaker.run([job])
    assert result.verdict == "passed", result
    with Sandbox(workers=1, limits=LIMITS) as whole:
        [(_, result)] = whole.run([job])
    assert result.verdict != "passed"


# Every new user namespace is refused from here on, as where a machine keeps them from its users:
# max_user_namespaces of a user namespace of our own.
REFUSED_SETUP = textwrap.dedent(
    """
    import ctypes, os, sys
    libc = ctypes.CDLL(None)
    uid, gid = os.geteuid(), os.getegid()
    assert libc.unshare(0x10000000) == 0
    open("/proc/self/setgroups", "w").write("deny")
    open("/proc/self/uid_map", "w").write(f"0 {uid} 1")
    open("/proc/self/gid_map", "w").write(f"0 {gid} 1")
    open("/proc/sys/user/max_user_namespaces", "w").write("0")
    """
)
NO_PASSWD = "def f(x):\n try: open('/etc/passwd')\n except OSError: return x"


def refused(path: str) -> list[str]:
    """What `CHILD` prints where user namespaces are refused, with that search path."""
    command = [sys.executable, "-c", REFUSED_SETUP + CHILD, FOLDER, NO_PASSWD]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PATH": path},
    )
    assert done.stdout, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(LEVEL not in ("full", "strong"), reason="namespaces are refused already")
def test_refused_namespaces_are_named_and_the_rest_holds() -> None:
    assert refused(path="/nowhere") == ["level reduced", "passed ", "passed "]


@NEEDS_FULL
@NEEDS_BWRAP
def test_refused_namespaces_are_had_through_bwrap() -> None:
    assert refused(path=os.environ["PATH"]) == ["level full", "passed ", "passed "]


@pytest.fixture(scope="module")
def through_bwrap() -> Iterator[Sandbox]:
    with Sandbox(workers=1, limits=LIMITS, without=frozenset({"direct"})) as sandbox:
        yield sandbox


@NEEDS_FULL
@NEEDS_BWRAP
@pytest.mark.parametrize(
    ("program", "verdict"),
    [
        pytest.param("def f(x): return x", "passed", id="honest"),
        pytest.param(
            "import asyncio, hashlib, unittest\ndef f(x): return x", "passed", id="imports"
        ),
        pytest.param(
            "import threading\ndef f(x):\n t = threading.Thread(target=int)\n t.start()\n return x",
            "passed",
            id="threads",
        ),
        pytest.param("def f(x): return len(open('/etc/passwd').read()) and x", "error", id="reads"),
        pytest.param("def f(x): return open('/usr/lib/x', 'w') and x", "error", id="writes"),
        pytest.param("import os\ndef f(x): return os.mkdir('/tmp') or x", "error", id="makes"),
        pytest.param(
            "import os\ndef f(x): return os.path.exists('/home') or x", "passed", id="sees"
        ),
    ],
)
def test_programs_through_bwrap(through_bwrap: Sandbox, program: str, verdict: str) -> None:
    assert (through_bwrap.level, through_bwrap.launcher) == ("full", "bwrap")
    [(_, result)] = through_bwrap.run([Job(program, "f", "assert f(1) == 1 and f(1) is not True")])
    assert result.verdict == verdict, result


def test_a_bwrap_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "bwrap"
    helper.write_text(
        "#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n"
    )
    helper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = probe(without=frozenset({"direct"}))
    assert found.missing["namespaces"] == "bwrap: setting up uid map: Permission denied"
    assert (found.level, found.usable) == ("reduced", True)


def test_without_namespaces_threads_do_not_depend_on_what_else_the_user_runs() -> None:
    done = threading.Event()
    others = [threading.Thread(target=done.wait) for _ in range(100)]
    for other in others:
        other.start()
    program = (
        "import threading\ndef f(x):\n t = threading.Thread(target=int)\n t.start()\n return x"
    )
    try:
        with Sandbox(workers=1, limits=LIMITS, without=frozenset({"namespaces"})) as sandbox:
            [(_, result)] = sandbox.run([Job(program, "f", "assert f(1) == 1")])
    finally:
        done.set()
        for other in others:
            other.join()
    assert result.verdict == "passed", result


def test_without_namespaces_and_landlock_nothing_can_be_opened() -> None:
    job = Job("def f(x): return open(x).read()", "f", f"f({os.__file__!r})")
    weaker = Sandbox(workers=1, limits=Limits(), without=frozenset({"namespaces", "landlock"}))
    with weaker:
        assert weaker.level == "reduced"
        [(_, result)] = weaker.run([job])
    assert "PermissionError" in result.detail


def test_the_probe_names_each_layer() -> None:
    found = probe()
    assert found.usable
    assert (found.level == "full") == (not found.missing) == (not found.remedies)
    assert set(found.layers) == {"namespaces", "landlock", "seccomp", "limits"}
    assert found.layers["seccomp"] == "present"


def test_the_probe_tells_what_is_left_out() -> None:
    found = probe(without=frozenset({"seccomp"}))
    assert (found.level, found.usable) == ("weak", False)
    assert found.layers["seccomp"] == "missing: left out"


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("proc/sys/user/max_user_namespaces", "0\n", "user.max_user_namespaces=15000"),
        ("proc/sys/kernel/unprivileged_userns_clone", "0\n", "unprivileged_userns_clone=1"),
        ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n", "bwrap-userns-restrict"),
        (".dockerenv", "", "--security-opt"),
        ("proc/sys/user/max_user_namespaces", "9\n", "install bubblewrap"),
    ],
)
def test_the_remedy_is_the_one_of_this_machine(
    tmp_path: Path, name: str, content: str, word: str
) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(content)
    told = remedy("namespaces", tmp_path)
    assert word in told
    assert told.count("sysctl") == (1 if name.startswith("proc") and "9" not in content else 0)


def test_the_remedy_for_landlock_keeps_the_other_modules(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel/security").mkdir(parents=True)
    (tmp_path / "sys/kernel/security/lsm").write_text("capability,yama")
    assert "lsm=landlock,capability,yama" in remedy("landlock", tmp_path)
    assert "5.13" in remedy("landlock", tmp_path / "nowhere")


def test_doctor_tells_every_layer() -> None:
    command = [sys.executable, "-c", "from lichen.cli import start; start()", "doctor"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    as_json = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    found = json.loads(as_json)
    assert found["sandbox_level"] == LEVEL
    for layer in ("namespaces", "landlock", "seccomp", "limits"):
        assert found[f"sandbox_{layer}"].startswith(("present", "missing: "))
        assert f"sandbox {layer}" in told
