"""Kill `lichen quantize` at random moments, start it again, and compare what comes out.

    python -m bench.kills MODEL [--recipe int4-gptq] [--kills 10] [--seed 0] [--out DIR]

One run is left alone; another is ended by SIGKILL so many times, each after a random part of a
third of the time that the first took, and then left to finish.  Every file of both folders has to
be the same, byte for byte; status 1 where one is not.  The folders go into DIR, which must be new.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from lichen.checkpoint.files import file_digest


def main() -> int:
    """Both runs; prints when it killed, and what differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--recipe", default="int4-gptq")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/kills"))
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    whole, killed = args.out / "whole", args.out / "killed"
    start = time.monotonic()
    finish(args.model, args.recipe, whole)
    seconds = time.monotonic() - start
    print(f"undisturbed: {seconds:.0f} s", flush=True)
    chance, lost, failed, again = random.Random(args.seed), 0, 0, time.monotonic()
    while lost < args.kills:
        delay = chance.uniform(0, seconds / 3)
        if kill_after(delay, args.model, args.recipe, killed):
            lost += 1
            print(f"killed after {delay:.1f} s", flush=True)
        if killed.exists():  # it was whole: what is left of the kills goes to another run
            failed |= report(whole, killed)
            shutil.rmtree(killed)
    finish(args.model, args.recipe, killed)
    print(f"with {args.kills} kills: {time.monotonic() - again:.0f} s")
    return failed | report(whole, killed)


def command(model: str, recipe: str, out: Path) -> list[str]:
    """The command that is run, and run again."""
    return [
        sys.executable,
        "-m",
        "lichen",
        "quantize",
        model,
        "--recipe",
        recipe,
        "--out",
        str(out),
    ]


def finish(model: str, recipe: str, out: Path) -> None:
    """Run to the end; ends with what it said where it fails."""
    done = subprocess.run(command(model, recipe, out), stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(done.stderr.strip().rpartition("\n")[2])


def kill_after(seconds: float, model: str, recipe: str, out: Path) -> bool:
    """Whether it was the kill that ended the run, so many seconds after its start."""
    with subprocess.Popen(command(model, recipe, out), stderr=subprocess.DEVNULL) as run:
        try:
            run.wait(seconds)
        except subprocess.TimeoutExpired:
            run.kill()
        status = run.wait()
    if status not in (0, -signal.SIGKILL):
        raise SystemExit(f"lichen quantize ended with {status}")
    return status == -signal.SIGKILL


def report(whole: Path, killed: Path) -> int:
    """0 where both folders have the same bytes, and nothing lies beside them."""
    names = {file.name for folder in (whole, killed) for file in folder.iterdir()}
    different = [name for name in sorted(names) if digest(whole / name) != digest(killed / name)]
    beside = sorted({path.name for path in whole.parent.iterdir()} - {whole.name, killed.name})
    print(f"{len(names)} files, different: {', '.join(different) or 'none'}", flush=True)
    if beside:
        print(f"left behind: {', '.join(beside)}")
    return int(bool(different or beside))


def digest(path: Path) -> str:
    """SHA-256 of a file, "" where there is none."""
    return file_digest(path) if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main())
