"""The core on Arm: built by a cross compiler, run by an emulator of several processors.

Needs cmake, aarch64-linux-gnu-g++ and qemu-aarch64 (Debian: g++-aarch64-linux-gnu, qemu-user). The
build stays in build/aarch64, so that only what has changed is compiled again.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.native.builds import ROOT, build, output_of, tool

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # its first test builds all of the core

#: Emulated processors, and what the core must find on each. Others of the same kind: Raspberry Pi 3
#: and 4; Apple M1 and Graviton2; Apple M2 and Graviton3.
PROCESSORS = {
    "cortex-a53": ["portable", "neon"],
    "neoverse-n1": ["portable", "neon", "neon_dotprod"],
    "max": ["portable", "neon", "neon_dotprod", "neon_i8mm"],
}
every_processor = pytest.mark.parametrize("processor", PROCESSORS)


@pytest.fixture(scope="module")
def built() -> Path:
    """The whole core and its tests for aarch64, without a warning."""
    return build(
        ROOT / "build/aarch64",
        {
            "CMAKE_SYSTEM_NAME": "Linux",
            "CMAKE_SYSTEM_PROCESSOR": "aarch64",
            "CMAKE_CXX_COMPILER": tool("aarch64-linux-gnu-g++"),
            "CMAKE_EXE_LINKER_FLAGS": "-static",
            "LICHEN_WERROR": "ON",
        },
    )


def emulate(built: Path, processor: str, program: str, *isas: str) -> list[str]:
    """The lines that a test program prints on an emulated processor."""
    qemu = tool("qemu-aarch64")
    known = subprocess.run([qemu, "-cpu", "help"], capture_output=True, text=True, check=False)
    if processor not in known.stdout.split():  # its exit code is 1 in any case
        pytest.skip(f"this qemu-aarch64 does not know {processor}")
    return output_of(qemu, "-cpu", processor, built / program, *isas).splitlines()


def supported(isas: Sequence[str]) -> str:
    return f"supported: {' '.join(isas)}"


@every_processor
def test_products_are_exact(built: Path, processor: str) -> None:
    isas = PROCESSORS[processor]
    first, *_, last = emulate(built, processor, "linear_test", isas[-1])
    assert first == supported(isas)
    assert last.endswith("cases, 0 failures")


def expect_agreement(built: Path, processor: str, program: str) -> None:
    first, *_, last = emulate(built, processor, program)
    assert first == supported(PROCESSORS[processor])
    assert last.endswith("checks, 0 failures")


@every_processor
def test_every_instruction_set_agrees_with_the_portable_one(built: Path, processor: str) -> None:
    expect_agreement(built, processor, "plan_test")


@pytest.mark.parametrize("program", ["vector_test", "rounding_test"])
def test_what_all_sets_have_in_common_agrees_too(built: Path, program: str) -> None:
    """Attention, norms and rounding have one form for all, so the least processor will do."""
    expect_agreement(built, "cortex-a53", program)


@pytest.mark.parametrize("program", ["threads_test", "refusal_test", "packing_test"])
def test_threads_packing_and_refusals(built: Path, program: str) -> None:
    assert emulate(built, "max", program)[-1].endswith("checks, 0 failures")


def test_an_instruction_set_that_is_missing_is_not_run(built: Path) -> None:
    with pytest.raises(AssertionError, match="this machine cannot run 'neon_dotprod'"):
        emulate(built, "cortex-a53", "linear_test", "neon_dotprod")


@pytest.mark.parametrize(
    ("source", "used", "unknown"),
    [
        ("neon", {"fmla", "smull", "smlal", "fcvtl"}, {"sdot", "smmla"}),
        ("neon_dotprod", {"sdot"}, {"smmla"}),
        ("neon_i8mm", {"smmla"}, set()),
    ],
)
def test_products_are_made_of_the_instructions_they_are_named_after(
    built: Path, source: str, used: set[str], unknown: set[str]
) -> None:
    (compiled,) = built.rglob(f"linear/{source}.cpp.o")
    listing = output_of(tool("aarch64-linux-gnu-objdump"), "-d", compiled)
    instructions = {line.split("\t")[2] for line in listing.splitlines() if line.count("\t") >= 2}
    assert used <= instructions
    assert not unknown & instructions
