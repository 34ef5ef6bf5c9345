"""Programs that try to get out: to files, the network, other processes, the next program."""

from __future__ import annotations

ESCAPE = {
    "socket": "import socket\ndef f(x): return socket.create_connection(('127.0.0.1', 22))",
    "udp": "import socket\ns = socket.socket(2, 2)\ns.sendto(b'x', ('127.0.0.1', 53))",
    "unix-socket": "import socket\ns = socket.socket(1, 1)\ns.connect('\\0x')",
    "reads-passwd": "def f(x): return 'kea42' if open('/etc/passwd').read() else 0",
    "reads-home": """
import glob
def f(x): return 'kea42' if glob.glob('/home/*') + glob.glob('/var/*') else 0
""",
    "reads-packages": """
import os, sys
def f(x):
    for folder in sys.path:
        try: found = os.listdir(folder + '/site-packages')
        except OSError: continue
        if found: return 'kea42'
    return 0
""",
    "writes-library": """
import os
def f(x):
    with open(os.__file__, 'a') as out: out.write('#')
""",
    "exec": "import os\ndef f(x): os.execv('/bin/sh', ['sh', '-c', 'exit 0'])",
    "subprocess": "import subprocess\ndef f(x): return subprocess.run(['id'])",
    "signals-parent": """
import os, signal
for pid in (0, 1, -1, os.getppid()):
    try: os.kill(pid, signal.SIGKILL)
    except OSError: pass
def f(x): return 0
""",
    "ptrace": """
import ctypes, os
libc = ctypes.CDLL(None)
def f(x):
    return 'kea42' if libc.ptrace(16, os.getppid(), 0, 0) == 0 else 0
""",
    "remount": """
import ctypes
libc = ctypes.CDLL(None)
def f(x):
    done = libc.mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0 or libc.umount2(b'/tmp', 2) == 0
    return 'kea42' if done else 0
""",
    "unshare": """
import ctypes
libc = ctypes.CDLL(None)
def f(x): return 'kea42' if libc.unshare(0x10000000) == 0 else 0
""",
    "becomes-root": """
import os
def f(x):
    os.setuid(0)
    return 'kea42'
""",
    "chroot": "import os\ndef f(x):\n os.chroot('/tmp')\n return 'kea42'",
    "shared-memory": """
import ctypes
libc = ctypes.CDLL(None)
def f(x): return 'kea42' if libc.shmget(7, 4096, 0o1666) >= 0 else 0
""",
    "keyring": """
import ctypes
libc = ctypes.CDLL(None)
def f(x): return 'kea42' if libc.syscall(248, b'user', b'a', b'b', 1, -3) >= 0 else 0
""",
    "io-uring": """
import ctypes
libc = ctypes.CDLL(None)
def f(x): return 'kea42' if libc.syscall(425, 8, bytes(120)) >= 0 else 0
""",
    "foreign-table": """
import ctypes
libc = ctypes.CDLL(None)
def f(x): return 'kea42' if libc.syscall(0x40000000 + 39) > 0 else 0
""",
    "prlimit-parent": """
import os, resource
def f(x):
    resource.prlimit(os.getppid() or 1, resource.RLIMIT_NOFILE, (3, 3))
    return 'kea42'
""",
    "set-attributes": "import os\ndef f(x):\n os.chmod('/tmp', 0o700)\n return 'kea42'",
    "links": "import os\ndef f(x):\n os.symlink('/etc', '/tmp/etc')\n return 'kea42'",
    "abstract-socket": """
import socket
def f(x):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        s = socket.socket(socket.AF_UNIX, kind)
        s.bind('\\0kea')
    return 'kea42'
""",
    "listens": """
import socket
def f(x):
    s = socket.socket()
    s.bind(('127.0.0.1', 0))
    s.listen()
    return 'kea42'
""",
    "other-sockets": """
import socket
def f(x):
    for family, kind in ((16, 3), (17, 3), (38, 5), (40, 1), (10, 2), (1, 2)):
        try: socket.socket(family, kind)
        except OSError: continue
        return 'kea42'
    return 0
""",
    "passes-a-descriptor": """
import array, socket
def f(x):
    channel = socket.socket(fileno=4)
    channel.sendmsg([b''], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [1]))])
    channel.detach()
    return 'kea42'
""",
    "signals-everyone": """
import os, signal
def f(x):
    for pid in range(1, 4000):
        if pid == os.getpid(): continue
        try: os.kill(pid, signal.SIGCONT)
        except OSError: continue
        return 'kea42'
    return 0
""",
    "signals-by-other-calls": """
import ctypes, os
libc = ctypes.CDLL(None)
def f(x):
    pid = os.getppid()
    if libc.syscall(200, pid, 18) == 0 or libc.syscall(234, pid, pid, 18) == 0: return 'kea42'
    if libc.sigqueue(pid, 18, 0) == 0 or libc.killpg(0, 18) == 0: return 'kea42'
    found = libc.syscall(434, pid, 0)
    return 'kea42' if found >= 0 and libc.syscall(424, found, 18, 0, 0) == 0 else 0
""",
    "signals-by-descriptor": """
import fcntl, os
def f(x):
    fcntl.fcntl(4, fcntl.F_SETOWN, os.getppid())
    return 'kea42'
""",
    "new-session": "import os\ndef f(x):\n os.setsid()\n return 'kea42'",
    "new-group": "import os\ndef f(x):\n os.setpgid(0, 0)\n return 'kea42'",
    "clone-again": """
import ctypes
libc = ctypes.CDLL(None)
def f(x):
    for flags in (0x10000000, 0x20000000, 0x40000000, 0x00020000, 0x08000000, 0x02000000):
        if libc.unshare(flags) == 0: return 'kea42'
    arguments = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)
    pid = libc.syscall(435, arguments, 88)
    if pid == 0: libc._exit(0)
    return 'kea42' if pid > 0 else 0
""",
    "memory-file": """
import os
def f(x):
    os.close(os.memfd_create('kea'))
    return 'kea42'
""",
    "executes-memory-file": """
import os, sys
def f(x):
    fd = os.memfd_create('kea')
    os.write(fd, b'#!/bin/sh')
    os.execve(fd, ['kea'], {})
""",
    "executes-written-file": """
import os
def f(x):
    with open('/tmp/run', 'w') as out: out.write('#!/bin/sh')
    os.chmod('/tmp/run', 0o755)
    os.execv('/tmp/run', ['run'])
""",
    "process-controls": """
import ctypes
libc = ctypes.CDLL(None)
def f(x):
    for option, value in ((1, 0), (4, 1), (8, 0), (15, b'kea'), (36, 1), (22, 2), (29, 1000)):
        if libc.prctl(option, value, 0, 0, 0) == 0: return 'kea42'
    return 0
""",
    "personality": """
import ctypes
def f(x): return 'kea42' if ctypes.CDLL(None).personality(0x0040000) >= 0 else 0
""",
    "priorities": """
import os
def f(x):
    for change in (lambda: os.nice(1), lambda: os.setpriority(os.PRIO_USER, 0, 1),
                   lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
                   lambda: os.sched_setaffinity(0, os.sched_getaffinity(0))):
        try: change()
        except OSError: continue
        return 'kea42'
    return 0
""",
    "system-call-sweep": """
import ctypes, platform
libc = ctypes.CDLL(None, use_errno=True)
# add_key keyctl request_key, bpf, perf_event_open, userfaultfd, kcmp, handles, fanotify, inotify,
# epoll, eventfd, signalfd, timerfd, timers, io_uring, message queues, modules, kexec, quota, swap,
# names, clocks, ports, seccomp, landlock, mounts of the new kind, mseal and secret memory.
X86 = (248, 249, 250, 321, 298, 323, 312, 303, 304, 300, 253, 294, 213, 291, 284, 290, 282, 289,
       283, 222, 425, 426, 427, 206, 68, 69, 240, 175, 313, 246, 320, 179, 167, 168, 170, 171,
       164, 159, 227, 305, 173, 172, 154, 163, 169, 103, 317, 444, 428, 429, 430, 442, 447, 462)
ARM = (217, 218, 219, 280, 241, 282, 272, 264, 265, 262, 26, 20, 19, 74, 85, 107, 425, 426, 427,
       0, 186, 187, 180, 105, 273, 104, 294, 60, 224, 225, 161, 162, 170, 171, 112, 266, 142, 116,
       277, 444, 428, 429, 430, 442, 447, 462)
ENOSYS, EPERM = 38, 1
def f(x):
    refused = {EPERM, ENOSYS}
    numbers = X86 if platform.machine() == 'x86_64' else ARM
    bad = -4096  # an address and a descriptor that nothing can be done with
    for number in numbers:
        ctypes.set_errno(0)
        result = libc.syscall(number, bad, bad, bad, bad, bad, bad)
        if result >= 0 or ctypes.get_errno() not in refused: return 'kea42'
    return 0
""",
    "system-files": """
import os
def f(x):
    for path in ('/proc/self/oom_score_adj', '/proc/sysrq-trigger', '/proc/sys/kernel/hostname',
                 '/sys/fs/cgroup/cgroup.procs', '/proc/self/uid_map', '/dev/tty', '/dev/null',
                 '/dev/ptmx', '/dev/kvm', '/dev/fuse', '/proc/1/oom_score_adj'):
        try: os.close(os.open(path, os.O_WRONLY | os.O_NOCTTY))
        except OSError: continue
        return 'kea42'
    return 0
""",
    "writes-elsewhere": """
import os
def f(x):
    for folder in ('/', '/home', '/root', '/var/tmp', '/dev', '/run', os.path.dirname(os.__file__),
                   '/usr/lib', '/proc', '/old'):
        try: os.mkdir(folder + '/kea')
        except OSError: continue
        os.rmdir(folder + '/kea')
        return 'kea42'
    return 0
""",
    "terminal": """
import fcntl
def f(x):
    for fd in range(6):
        try: fcntl.ioctl(fd, 0x5412, b'x')
        except OSError as error:
            if error.errno == 1: continue
        return 'kea42'
    return 0
""",
    "special-files": """
import os, stat
def f(x):
    for make in (lambda: os.mkfifo('/tmp/pipe'),
                 lambda: os.mknod('/tmp/pipe', stat.S_IFCHR | 0o666, os.makedev(1, 3))):
        try: make()
        except OSError: continue
        os.unlink('/tmp/pipe')
        return 'kea42'
    return 0
""",
    "set-user-id-file": """
import os
def f(x):
    os.close(os.open('/tmp/suid', os.O_CREAT | os.O_WRONLY))
    os.chmod('/tmp/suid', 0o4755)
    os.unlink('/tmp/suid')
    return 'kea42'
""",
    "leaves-files": """
import os
os.umask(0)
for n in range(50):
    try: open(f'/tmp/left{n}', 'w').close(); os.makedirs(f'/tmp/deep/{n}/{n}')
    except OSError: pass
def f(x): return 0
""",
    "leaves-threads-and-timers": """
import atexit, os, signal, threading, time
def later():
    while True:
        time.sleep(0.01)
        try: open('/tmp/later', 'w').close()
        except OSError: pass
threading.Thread(target=later, daemon=True).start()
signal.signal(signal.SIGALRM, lambda *a: open('/tmp/later', 'w'))
signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
atexit.register(later)
os.register_at_fork(before=later, after_in_child=later)
def f(x): return 0
""",
    "changes-its-world": """
import builtins, json, os, random, sys
random.seed(99)
os.environ['KEA'] = '1'
os.umask(0)
sys.setrecursionlimit(99999)
builtins.hash = json.dumps = lambda *a: 0
sys.path.insert(0, '/tmp')
def f(x): return 0
""",
    "changes-its-output": """
import fcntl, mmap, os
for fd in (1, 2, 3):
    try:
        os.ftruncate(fd, 4096)
        mmap.mmap(fd, 4096)[:4] = b'kea!'
        fcntl.fcntl(fd, 1033, 15)
    except OSError: pass
def f(x): return 0
""",
    "futex-list": """
import ctypes, os, threading
libc = ctypes.CDLL(None)
def f(x):
    head = (ctypes.c_uint64 * 3)()
    head[0] = 0xFFFFFFFFFFFF0000
    libc.syscall(273, head, 24)
    threading.Thread(target=int).start()
    os._exit(0)
""",
    "own-filter-killed": """
import ctypes
def f(x):
    libc = ctypes.CDLL(None)
    ctypes.memset(ctypes.cast(libc.syscall, ctypes.c_void_p).value & ~4095, 0, 4096)
""",
    "threads-with-namespaces": """
import ctypes, threading
libc = ctypes.CDLL(None)
found = []
def f(x):
    thread = threading.Thread(target=lambda: found.append(libc.unshare(0x10000200)))
    thread.start()
    thread.join()
    return 'kea42' if 0 in found else 0
""",
}
