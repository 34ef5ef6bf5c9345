"""The core on Arm: built by a cross compiler, run by an emulator of several processors.

Needs cmake, aarch64-linux-gnu-g++ and qemu-aarch64 (Debian: g++-aarch64-linux-gnu, qemu-user). The
build stays in build/aarch64, so that only what has changed is compiled again.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/aarch64"

#: Emulated processors, and what the core must find on each. Others of the same kind: Raspberry Pi 3
#: and 4; Apple M1 and Graviton2; Apple M2 and Graviton3.
PROCESSORS = {
    "cortex-a53": ["portable", "neon"],
    "neoverse-n1": ["portable", "neon", "neon_dotprod"],
    "max": ["portable", "neon", "neon_dotprod", "neon_i8mm"],
}
every_processor = pytest.mark.parametrize("processor", PROCESSORS)


def tool(name: str) -> str:
    """A program's path: beside the interpreter, or on the path."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def output_of(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def build() -> Path:
    """The whole core and its tests for aarch64, without a warning."""
    cmake, compiler = tool("cmake"), tool("aarch64-linux-gnu-g++")
    switches = {
        "CMAKE_SYSTEM_NAME": "Linux",
        "CMAKE_SYSTEM_PROCESSOR": "aarch64",
        "CMAKE_CXX_COMPILER": compiler,
        "CMAKE_EXE_LINKER_FLAGS": "-static",
        "LICHEN_PYTHON": "OFF",
        "LICHEN_NATIVE_TESTS": "ON",
        "LICHEN_WERROR": "ON",
    }
    defined = [f"-D{name}={value}" for name, value in switches.items()]
    output_of(cmake, "-S", ROOT, "-B", BUILD, *defined)
    output_of(cmake, "--build", BUILD, "--parallel", "2")
    return BUILD


def emulate(build: Path, processor: str, program: str, *isas: str) -> list[str]:
    """The lines that a test program prints on an emulated processor."""
    qemu = tool("qemu-aarch64")
    known = subprocess.run([qemu, "-cpu", "help"], capture_output=True, text=True, check=False)
    if processor not in known.stdout.split():  # its exit code is 1 in any case
        pytest.skip(f"this qemu-aarch64 does not know {processor}")
    return output_of(qemu, "-cpu", processor, build / program, *isas).splitlines()


def supported(isas: Sequence[str]) -> str:
    return f"supported: {' '.join(isas)}"


@every_processor
def test_products_are_exact(build: Path, processor: str) -> None:
    isas = PROCESSORS[processor]
    first, *_, last = emulate(build, processor, "linear_test", isas[-1])
    assert first == supported(isas)
    assert last.endswith("cases, 0 failures")


@every_processor
@pytest.mark.parametrize("program", ["vector_test", "plan_test", "rounding_test"])
def test_every_instruction_set_agrees_with_the_portable_one(
    build: Path, processor: str, program: str
) -> None:
    first, *_, last = emulate(build, processor, program)
    assert first == supported(PROCESSORS[processor])
    assert last.endswith("checks, 0 failures")


@pytest.mark.parametrize("program", ["threads_test", "refusal_test", "packing_test"])
def test_threads_packing_and_refusals(build: Path, program: str) -> None:
    assert emulate(build, "max", program)[-1].endswith("checks, 0 failures")


def test_an_instruction_set_that_is_missing_is_not_run(build: Path) -> None:
    with pytest.raises(AssertionError, match="this machine cannot run 'neon_dotprod'"):
        emulate(build, "cortex-a53", "linear_test", "neon_dotprod")


@pytest.mark.parametrize(
    ("source", "used", "unknown"),
    [
        ("neon", {"fmla", "smull", "smlal", "fcvtl"}, {"sdot", "smmla"}),
        ("neon_dotprod", {"sdot"}, {"smmla"}),
        ("neon_i8mm", {"smmla"}, set()),
    ],
)
def test_products_are_made_of_the_instructions_they_are_named_after(
    build: Path, source: str, used: set[str], unknown: set[str]
) -> None:
    (compiled,) = build.rglob(f"linear/{source}.cpp.o")
    listing = output_of(tool("aarch64-linux-gnu-objdump"), "-d", compiled)
    instructions = {line.split("\t")[2] for line in listing.splitlines() if line.count("\t") >= 2}
    assert used <= instructions
    assert not unknown & instructions
