"""The kernels for AMX and AVX-VNNI on processors without them, and what is said of a processor.

The core's own tests with these instructions in plain C++ (``native/tests``), and a test of the
detection over made-up processors.  Needs cmake and a C++ compiler; the build stays in build/native,
so that only what has changed is compiled again.
"""

from __future__ import annotations

import platform
import re
from pathlib import Path

import pytest
from tests.native.builds import ROOT, build, installed_core, output_of, tool

from lichen import _core

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        platform.machine() not in ("x86_64", "AMD64"), reason="only of x86 processors"
    ),
]

BUILD = ROOT / "build/native"
#: What the emulated sets have for all that is not their own.
NEEDS = {"amx": "avx512_vnni", "avx_vnni": "avx2"}
PROGRAMS = ["linear_test", "plan_test", "vector_test"]


def quickly_built(*targets: str) -> Path:
    """Soon built rather than fast, with the installed core where that is of these sources."""
    tool("c++")
    built = installed_core()
    switches = {"LICHEN_OPTIMIZATION": "-O1", "LICHEN_BUILT": str(built or "")}
    return build(BUILD, switches, *targets)


@pytest.fixture(scope="module")
def emulated() -> Path:
    """The tests over emulated instructions."""
    folder = quickly_built("cpu_test")
    if "plan_test_emulated" not in output_of(tool("cmake"), "--build", folder, "--target", "help"):
        pytest.skip("the compiler knows neither AMX nor AVX-VNNI")
    return quickly_built(*(f"{program}_emulated" for program in PROGRAMS))


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("isa", NEEDS)
def test_kernels_are_right_over_emulated_instructions(
    emulated: Path, program: str, isa: str
) -> None:
    if NEEDS[isa] not in _core.supported_isas():
        pytest.skip(f"the rest of {isa} needs {NEEDS[isa]}, which this machine does not have")
    first, *_, last = output_of(emulated / f"{program}_emulated", isa).splitlines()
    assert isa in first.split()
    assert re.fullmatch(r"[1-9]\d+ (cases|checks), 0 failures", last)


def test_what_is_said_of_a_processor_is_what_it_and_the_system_grant() -> None:
    told = output_of(quickly_built("cpu_test") / "cpu_test")
    assert re.fullmatch(r"[1-9]\d+ checks, 0 failures\n", told)
