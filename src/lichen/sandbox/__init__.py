"""Runs generated programs, which are hostile until proven otherwise, against trusted tests.

    with Sandbox() as sandbox:
        for index, result in sandbox.run([Job(program, "f", "assert f(1) == 2")]):
            print(index, result.verdict, result.detail)

This folder imports nothing of lichen and needs only Python and the C library.

How it works
    The supervisor (`supervisor`, in the caller's process) drives workers.  A worker is two warm
    zygotes (`zygote`), each process 1 of its own namespaces with the standard library loaded.  Per
    job one forks the program's process (`child`), the other the process of its tests (`judge`);
    the two talk over one socket in tagged JSON (`peer`, `codec`).  The program's process gets the
    entry point's arguments and gives back values; the verdict is made, and the tests are read,
    only in the other.  After a job everything in both is killed, and /tmp is replaced if touched.
    Tests that can leave nothing behind (`plain`) share a judge's process that stays (`standing`).

What it defends against: programs that
    - forge a verdict: no byte that the program's process writes is taken for one, and what it
      returns becomes exact builtin types, proxies of functions, or iterators;
    - read the tests, another program, the user's files, the environment or other processes;
    - reach the network, start processes, gain privileges, or outlive their job;
    - use more CPU time, memory, disk, output, threads or descriptors than `Limits` allows;
    - change what a later program sees.

What it does not defend against
    - defects of the kernel, the C library or the interpreter that let code break out of a process
      with neither privileges nor most system calls; whoever fears these adds a virtual machine;
    - tests that are hostile themselves (they are contained as programs are, but they decide);
    - tests that accept wrong answers, and programs that recognize tests by their arguments;
    - timing: programs share caches and cores with everything else, and addresses are random;
    - tasks that cannot be split (a class of the tests' own as an argument, a class of the
      program's used by the tests): those run in one process, where the program could forge its
      verdict, and `Result.forgeable` says so.

Levels, best first (`Sandbox.level`; `probe` tells each layer and its remedy)
    full     user, process, network, mount, IPC and UTS namespaces, Landlock, seccomp, limits
    strong   the same without Landlock
    reduced  no namespaces: nothing can be written, only the standard library be read (without
             Landlock nothing opened at all), but names, sizes, dates of files be seen, and the
             machine's name
    macos    a `sandbox-exec` profile and resource limits, but memory (not run on a Mac yet)
    weak     no seccomp: only when allowed with ``allow_weak``
    none     resource limits at most: only when allowed with ``unsafe``

The zygote makes its namespaces itself; where the system refuses, `bwrap` does when it is there
(`Sandbox.launcher`).  Programs then have no /tmp to write to.

As root, programs run as nobody; as an ordinary user, in a user namespace where that user has no
rights.  The interpreter may lie in a private home: it is executed before any right is dropped,
and children are forked, not executed.
"""

from .api import Job, Level, Limits, Result, SandboxError, Verdict
from .probe import Probe, probe
from .supervisor import Sandbox

__all__ = [
    "Job",
    "Level",
    "Limits",
    "Probe",
    "Result",
    "Sandbox",
    "SandboxError",
    "Verdict",
    "probe",
]
