"""macOS, as far as Linux can tell: the profile, the command, and that nothing needs Linux."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import lichen.sandbox
from lichen.sandbox import seatbelt
from lichen.sandbox.supervisor import level_of

FOLDER = str(Path(lichen.sandbox.__file__).parent.parent)


def rules(text: str) -> list[str]:
    """The top-level forms of a profile."""
    forms, depth, start = [], 0, 0
    for place, character in enumerate(text):
        if character == "(":
            start = place if depth == 0 else start
            depth += 1
        elif character == ")":
            depth -= 1
            if depth == 0:
                forms.append(" ".join(text[start : place + 1].split()))
    assert depth == 0
    return forms


def test_the_profile_denies_by_default_and_allows_reading_only() -> None:
    found = rules(seatbelt.profile("/py/bin/python3", ["/py/lib", '/odd "name"']))
    assert found[:2] == ["(version 1)", "(deny default)"]
    allowed = {form.split()[1].rstrip(")") for form in found[2:]}
    assert all(form.startswith("(allow ") for form in found[2:])
    assert not {
        word for word in allowed if word.startswith(("network", "mach", "ipc", "file-wri"))
    } - {"file-write-data"}
    assert '(allow process-exec (literal "/py/bin/python3"))' in found
    assert '(allow file-write-data (literal "/dev/null"))' in found
    [reading] = [form for form in found if form.startswith("(allow file-read* ")]
    assert '(subpath "/py/lib")' in reading
    assert '(subpath "/odd \\"name\\"")' in reading
    assert "/Users" not in reading
    assert '(subpath "/")' not in reading


def test_the_command_runs_the_interpreter_under_the_profile() -> None:
    helper, option, text, python = seatbelt.command("/usr/bin/sandbox-exec", FOLDER, ["/project"])
    assert (helper, option) == ("/usr/bin/sandbox-exec", "-p")
    assert python == os.path.realpath(sys.executable)
    for folder in (os.path.dirname(os.__file__), FOLDER, "/project"):
        assert f'(subpath "{os.path.realpath(folder)}")' in text


def test_the_level_has_a_name_of_its_own() -> None:
    assert level_of(frozenset({"seatbelt", "limits"})) == "macos"
    assert level_of(frozenset({"limits"})) == "none"


# A Mac as far as Python shows it; sandbox-exec is a script that lets everything through.
A_MAC = textwrap.dedent(
    """
    import os, resource, signal, sys
    sys.platform = "darwin"
    os.uname = lambda: os.uname_result(("Darwin", "mac", "23", "", "arm64"))
    del os.memfd_create, os.sched_getaffinity, os.setresgid, os.setresuid
    del signal.sigtimedwait, resource.RLIMIT_MSGQUEUE
    sys.path.insert(0, sys.argv[1])
    import sandbox
    from sandbox import bubblewrap, child, containment, judge, landlock, launcher, limits
    from sandbox import namespaces, seatbelt, seccomp, zygote
    seatbelt._SANDBOX_EXEC = sys.argv[2]
    launcher._END_SECONDS = 0.2  # this kind of socket does not tell a Linux zygote of its end
    print(*sandbox.probe().layers.values(), sep="\\n")
    try:
        with sandbox.Sandbox(workers=1): pass
    except sandbox.SandboxError as error:
        print(error)
    """
)


def as_a_mac(helper: Path) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", A_MAC, FOLDER, str(helper)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_profile_that_does_not_hold_is_found_out(tmp_path: Path) -> None:
    helper = tmp_path / "sandbox-exec"
    helper.write_text('#!/bin/sh\n[ "$1" = -p ] && shift 2 && exec "$@"\n')
    helper.chmod(0o755)
    seatbelt_said, limits_said, refusal = as_a_mac(helper)
    assert seatbelt_said == "missing: reading a password file was allowed"
    assert limits_said == "present"
    assert "no safe sandbox here, only level 'none'" in refusal


def test_a_mac_without_sandbox_exec_is_refused(tmp_path: Path) -> None:
    *_, refusal = as_a_mac(tmp_path / "sandbox-exec")
    assert "there is no sandbox-exec" in refusal
