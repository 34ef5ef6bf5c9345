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
from tests.native.test_cross import ROOT, output_of, tool

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


@pytest.fixture(scope="module")
def build() -> Path:
    """The core, soon built rather than fast, and the tests that no other module runs."""
    cmake = tool("cmake")
    tool("c++")
    switches = {
        "LICHEN_PYTHON": "OFF",
        "LICHEN_NATIVE_TESTS": "ON",
        "LICHEN_OPTIMIZATION": "-O1",
    }
    defined = [f"-D{name}={value}" for name, value in switches.items()]
    output_of(cmake, "-S", ROOT, "-B", BUILD, *defined)
    output_of(cmake, "--build", BUILD, "--parallel", "2", "--target", "cpu_test")
    return BUILD


@pytest.fixture(scope="module")
def emulated(build: Path) -> Path:
    """The tests over emulated instructions."""
    targets = output_of(tool("cmake"), "--build", build, "--target", "help")
    if "plan_test_emulated" not in targets:
        pytest.skip("the compiler knows neither AMX nor AVX-VNNI")
    programs = [f"{program}_emulated" for program in PROGRAMS]
    output_of(tool("cmake"), "--build", build, "--parallel", "2", "--target", *programs)
    return build


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


def test_what_is_said_of_a_processor_is_what_it_and_the_system_grant(build: Path) -> None:
    assert re.fullmatch(r"[1-9]\d+ checks, 0 failures\n", output_of(build / "cpu_test"))
