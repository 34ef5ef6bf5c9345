"""Model folders are written whole or not at all."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file
from tests.tiny import write_tiny_model

from lichen.checkpoint import atomic, open_checkpoint
from lichen.checkpoint.atomic import AtomicFolder, Rows, write_shards, write_tokenizer
from lichen.errors import InputError, ResourceError


def listing(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_the_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    with AtomicFolder(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert listing(target) == {"a"}
    assert listing(tmp_path / "deep") == {"out"}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    with AtomicFolder(target) as folder:
        (folder / "a").write_text("1")
    assert listing(target) == {"a"}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_failure_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with AtomicFolder(tmp_path / "out") as folder:
            (folder / "a").write_text("1")
            raise error

    with pytest.raises(error):
        fail()
    assert listing(tmp_path) == set()


@pytest.mark.parametrize("force", [False, True])
def test_failure_leaves_the_old_folder(tmp_path: Path, force: bool) -> None:
    target = old_folder(tmp_path)

    def fail() -> None:
        with AtomicFolder(target, force=True) as folder:
            (folder / "new").write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert listing(target) == {"old"}
    assert listing(tmp_path) == {"out"}


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    target = old_folder(tmp_path)
    with pytest.raises(InputError, match="--force"):
        AtomicFolder(target).__enter__()
    assert listing(target) == {"old"}


def test_force_replaces_at_the_end(tmp_path: Path) -> None:
    target = old_folder(tmp_path)
    with AtomicFolder(target, force=True) as folder:
        (folder / "new").write_text("1")
        assert listing(target) == {"old"}
    assert listing(target) == {"new"}
    assert listing(tmp_path) == {"out"}


def test_force_does_not_replace_what_is_no_model_folder(tmp_path: Path) -> None:
    (tmp_path / "home" / "documents").mkdir(parents=True)
    with pytest.raises(InputError, match="holds other folders"):
        AtomicFolder(tmp_path / "home", force=True).__enter__()
    assert (tmp_path / "home" / "documents").is_dir()


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    with pytest.raises(InputError, match="is a file"):
        AtomicFolder(tmp_path / "file", force=True).__enter__()
    with pytest.raises(InputError, match="cannot be written"):
        AtomicFolder(tmp_path / "file" / "out").__enter__()


def test_a_crash_between_the_two_renames_is_mended(tmp_path: Path) -> None:
    target = old_folder(tmp_path)
    target.rename(tmp_path / ".out.old")
    with pytest.raises(InputError, match="not empty"):
        AtomicFolder(target).__enter__()
    assert listing(target) == {"old"}


@pytest.mark.parametrize("moment", ["old", "new"])
def test_ctrl_c_as_a_rename_returns_keeps_a_whole_folder(
    tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = old_folder(tmp_path)
    rename = Path.rename

    def struck(self: Path, to: Path) -> Path:
        done = rename(self, to)
        if (self == target) == (moment == "old"):
            monkeypatch.setattr(Path, "rename", rename)
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(Path, "rename", struck)
    with pytest.raises(KeyboardInterrupt), AtomicFolder(target, force=True) as folder:
        (folder / "new").write_text("1")
    assert listing(target) == {moment}
    assert listing(tmp_path) == {"out"}


def test_what_is_left_of_an_old_folder_is_never_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = old_folder(tmp_path)
    (target / "old too").write_text("1")
    remove = shutil.rmtree

    def cut_short(path: Path, **how: bool) -> None:
        if path.exists():
            (path / "old").unlink()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), AtomicFolder(target, force=True) as folder:
        (folder / "new").write_text("1")
        monkeypatch.setattr(shutil, "rmtree", cut_short)
    monkeypatch.undo()
    assert listing(target) == {"new"}
    remove(target)
    with AtomicFolder(target) as folder:
        (folder / "newer").write_text("1")
    assert listing(target) == {"newer"}
    assert listing(tmp_path) == {"out"}


def test_a_killed_process_leaves_the_old_state(tmp_path: Path) -> None:
    """SIGKILL in the middle of writing; the next write removes what it left."""
    target = old_folder(tmp_path)
    program = (
        "import sys, time; from pathlib import Path\n"
        "from lichen.checkpoint.atomic import AtomicFolder\n"
        "with AtomicFolder(Path(sys.argv[1]), force=True) as folder:\n"
        "    (folder / 'half').write_text('1'); print('writing', flush=True); time.sleep(60)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", program, target], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    with writer.stdout:
        writer.stdout.readline()
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert listing(target) == {"old"}
    assert len(listing(tmp_path)) == 2
    with AtomicFolder(target, force=True) as folder:
        (folder / "new").write_text("1")
    assert listing(target) == {"new"}
    assert listing(tmp_path) == {"out"}


def test_a_full_disk_is_a_resource_error(small_disk: Path) -> None:
    target = old_folder(small_disk)
    big = np.zeros((1024, 1024), np.float32)

    def write() -> None:
        with AtomicFolder(target, force=True) as folder:
            write_shards(folder, ((f"w{i}", big) for i in range(8)))

    with pytest.raises(ResourceError, match="disk is full"):
        write()
    assert listing(target) == {"old"}
    assert listing(small_disk) == {"out"}


def old_folder(parent: Path) -> Path:
    target = parent / "out"
    target.mkdir()
    (target / "old").write_text("1")
    return target


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root's rights")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


# --- shards ------------------------------------------------------------------------------------

ARRAYS = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.arange(-4, 4, dtype=np.int8).reshape(2, 4),
    "c": np.linspace(-2, 2, 10).astype(ml_dtypes.bfloat16).reshape(5, 2),
    "d": np.array([7], np.int64),
    "e": np.arange(12, dtype=np.float16).reshape(3, 4).T,
    "f": np.zeros((0, 3), np.float32),
}


def test_one_file_when_it_fits(tmp_path: Path) -> None:
    size = write_shards(tmp_path, iter(ARRAYS.items()))
    assert listing(tmp_path) == {"model.safetensors"}
    assert size == sum(a.nbytes for a in ARRAYS.values())
    same(load_file(tmp_path / "model.safetensors"))
    with safe_open(tmp_path / "model.safetensors", "numpy") as file:
        assert file.metadata() == {"format": "pt"}


@given(limit=st.integers(1, 200))
def test_shards_read_back_through_lichen(
    tmp_path_factory: pytest.TempPathFactory, limit: int
) -> None:
    folder = write_tiny_model(tmp_path_factory.mktemp("m") / "m", layers=1)
    (folder / "model.safetensors").unlink()
    write_shards(folder, iter(ARRAYS.items()), shard_bytes=limit)
    files = list(folder.glob("model-*.safetensors"))
    assert len(files) != 1
    assert all(len(load_file(f)) == 1 or data_bytes(f) <= limit for f in files)
    checkpoint = open_checkpoint(folder)
    same({name: checkpoint.read(name) for name in checkpoint.names()})


def test_more_tensors_than_a_header_holds(tmp_path: Path) -> None:
    count = 3000
    write_shards(tmp_path, ((f"{'x' * 50}{i}", np.array([i])) for i in range(count)))
    read: dict[str, object] = {}
    for file in tmp_path.glob("*.safetensors"):
        read |= load_file(file)
    assert len(read) == count
    assert len(list(tmp_path.glob("*.safetensors"))) > 1


@pytest.mark.parametrize("waiting", [1, 3])
def test_a_tensor_is_asked_for_when_the_ones_before_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waiting: int
) -> None:
    size = np.zeros(10).nbytes
    monkeypatch.setattr(atomic, "_WAITING_BYTES", waiting * size)
    alive: list[int] = []

    class Watched(np.ndarray):
        def __del__(self) -> None:
            alive.remove(id(self))

    def tensors() -> Iterator[tuple[str, np.ndarray]]:
        for number in range(50):
            tensor = np.zeros(10).view(Watched)
            alive.append(id(tensor))
            assert len(alive) <= waiting + 1  # those that wait, and this one
            yield f"t{number}", tensor
            del tensor

    write_shards(tmp_path, tensors())


@given(cuts=st.lists(st.integers(0, 5), max_size=4), limit=st.integers(1, 60))
def test_rows_make_the_tensor_that_they_are_of(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], limit: int
) -> None:
    def tensors() -> Iterator[tuple[str, np.ndarray | Rows]]:
        for name, array in ARRAYS.items():
            for begin, end in pairwise([0, *sorted(min(c, len(array)) for c in cuts), len(array)]):
                if begin < end:
                    yield name, Rows(array[begin:end], len(array))

    whole, pieces = (tmp_path_factory.mktemp(name) for name in ("whole", "pieces"))
    arrays = {name: array for name, array in ARRAYS.items() if len(array)}
    write_shards(whole, iter(arrays.items()), shard_bytes=limit)
    write_shards(pieces, tensors(), shard_bytes=limit)
    assert {f.name: f.read_bytes() for f in whole.iterdir()} == {
        f.name: f.read_bytes() for f in pieces.iterdir()
    }


DUE = ("a", Rows(np.zeros((2, 2)), 4))


@pytest.mark.parametrize(
    "then",
    [
        [],
        [("b", np.zeros((2, 2)))],
        [("a", np.zeros((2, 2)))],
        [("a", Rows(np.zeros((3, 2)), 4))],
        [("a", Rows(np.zeros((2, 3)), 4))],
        [("a", Rows(np.zeros((2, 2), np.int64), 4))],
    ],
    ids=["nothing", "another", "no rows", "too many", "longer", "another type"],
)
def test_rows_that_are_not_those_that_are_due_are_a_defect(
    tmp_path: Path, then: list[tuple[str, np.ndarray | Rows]]
) -> None:
    with pytest.raises(ValueError, match=r"name='a'.*rows=2"):
        write_shards(tmp_path, iter([DUE, *then]))


@pytest.mark.parametrize("fails", ["to_disk", "_append"])
def test_a_disk_that_is_full_is_told_of_by_whoever_writes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    owner = atomic if fails == "to_disk" else atomic.SafetensorsWriter
    monkeypatch.setattr(owner, fails, full)
    monkeypatch.setattr(atomic, "_SYNC_BYTES", 1)
    with pytest.raises(ResourceError, match="disk is full"), AtomicFolder(tmp_path / "m") as folder:
        write_shards(folder, ((f"t{i}", np.zeros(9)) for i in range(5)))
    assert listing(tmp_path) == set()


def test_the_same_name_twice_is_a_defect(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="written already"):
        write_shards(tmp_path, iter([("a", np.zeros(1)), ("a", np.zeros(1))]))


def test_tokenizer_files_are_copied_as_they_are(tmp_path: Path) -> None:
    folder = write_tiny_model(tmp_path / "m")
    (folder / "chat_template.jinja").write_bytes("{{ 'ü' }}\r\n".encode())
    (tmp_path / "out").mkdir()
    write_tokenizer(open_checkpoint(folder), tmp_path / "out")
    expected = {
        "tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"
    }  # fmt: skip
    assert listing(tmp_path / "out") == expected
    for name in expected:
        assert (tmp_path / "out" / name).read_bytes() == (folder / name).read_bytes()


def same(tensors: dict[str, np.ndarray]) -> None:
    assert tensors.keys() == ARRAYS.keys()
    for name, expected in ARRAYS.items():
        assert tensors[name].dtype == expected.dtype
        assert tensors[name].shape == expected.shape
        assert tensors[name].tobytes() == np.ascontiguousarray(expected).tobytes()


def data_bytes(path: Path) -> int:
    return sum(tensor.nbytes for tensor in load_file(path).values())
