"""Programs that use up something, or never end."""

from __future__ import annotations

EXHAUST = {
    "fork-bomb": "import os\nwhile 1: os.fork()",
    "fork-bomb-caught": """
import os
def f(x):
    while 1:
        try: os.fork()
        except OSError: pass
""",
    "raw-clone": """
import ctypes
def f(x):
    libc = ctypes.CDLL(None)
    for n in (56, 57, 58, 220, 435):
        if libc.syscall(n, 17, 0, 0, 0, 0) > 0: return 'kea42'
    return 0
""",
    "thread-bomb": """
import threading, time
def f(x):
    while 1:
        try: threading.Thread(target=time.sleep, args=(99,)).start()
        except RuntimeError: pass
""",
    "memory-bomb": "def f(x):\n a = []\n while 1: a.append(bytearray(1 << 24))",
    "memory-bomb-caught": """
def f(x):
    a = []
    while 1:
        try: a.append(bytearray(1 << 24))
        except MemoryError: pass
""",
    "mmap-bomb": """
import mmap
def f(x): return [mmap.mmap(-1, 1 << 28) for _ in range(64)]
""",
    "huge-int": "def f(x): return 10 ** 10 ** 10",
    "output-flood": "def f(x):\n while 1: print('flood' * 1000)",
    "output-flood-raw": """
import os, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
def f(x):
    while 1:
        try: os.write(2, b'flood' * 10000)
        except OSError: pass
""",
    "file-fill": """
import os
def f(x):
    n = 0
    while 1:
        n += 1
        try:
            with open(f'/tmp/{n}', 'wb') as out: out.write(bytes(1 << 20))
        except OSError: pass
""",
    "inode-fill": """
def f(x):
    for n in range(10 ** 9):
        try: open(f'/tmp/{n}', 'w').close()
        except OSError: pass
""",
    "descriptor-fill": """
import os
def f(x):
    while 1:
        try: os.pipe()
        except OSError: pass
""",
    "deep-recursion": """
import sys
sys.setrecursionlimit(10 ** 9)
def f(x): return [f(x)] if sorted([x], key=f) else 0
""",
    "loop-in-c": "def f(x): return (9 ** 9 ** 7) % 7",
    "regex": "import re\ndef f(x): return re.match('(a+)+$', 'a' * 64 + 'b')",
    "ignores-sigxcpu": """
import signal
for n in range(1, 65):
    try: signal.signal(n, signal.SIG_IGN)
    except (OSError, ValueError): pass
def f(x):
    while 1: pass
""",
    "catches-everything": """
def f(x):
    while 1:
        try:
            while 1: pass
        except BaseException: pass
""",
    "raises-its-limits": """
import resource
for kind in range(16):
    try: resource.setrlimit(kind, (-1, -1))
    except (OSError, ValueError): pass
def f(x):
    while 1: pass
""",
    "sleeps": "import time\ndef f(x): time.sleep(10 ** 6)",
    "waits-for-input": "def f(x): return input()",
    "endless-iterator": "import itertools\ndef f(x): return itertools.count()",
    "endless-value": """
class Endless(list):
    def __iter__(self):
        while True: yield 0
def f(x): return Endless()
""",
    "blocks-the-channel": "import os\ndef f(x):\n while 1: os.write(4, b'\\0\\0\\0\\1')",
    "closes-the-channel": "import os\nos.closerange(0, 64)\ndef f(x): return 0",
    "small-threads": """
import threading, time
threading.stack_size(32768)
def f(x):
    for count in range(200):
        try: threading.Thread(target=time.sleep, args=(9,), daemon=True).start()
        except RuntimeError: return 0
    return 'kea42'
""",
    "busy-threads": """
import threading
def spin():
    while True: pass
def f(x):
    for _ in range(8): threading.Thread(target=spin).start()
    spin()
""",
    "more-address-space": """
import mmap
def f(x): return 'kea42' if mmap.mmap(-1, 5 << 28) else 0
""",
    "more-descriptors": """
import os
def f(x):
    opened = []
    try:
        while len(opened) < 200: opened.append(os.dup(1))
    except OSError: pass
    return 'kea42' if len(opened) >= 200 else 0
""",
    "more-file": """
def f(x):
    with open('/tmp/large', 'wb') as out:
        try: out.write(bytes(5 << 20))
        except OSError: return 0
    __import__('os').unlink('/tmp/large')
    return 'kea42'
""",
    "more-time": """
import time
def f(x):
    while time.process_time() < 1.7: pass
    return 'kea42'
""",
    "core-dump": """
import resource
def f(x):
    resource.setrlimit(resource.RLIMIT_CORE, (1 << 20, 1 << 20))
    return 'kea42'
""",
    "stops-itself": "import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGSTOP)",
    "kills-itself": "import os, signal\ndef f(x): os.kill(os.getpid(), signal.SIGKILL)",
    "crashes": "import ctypes\ndef f(x): return ctypes.string_at(0)",
    "waits-for-itself": """
import threading
lock = threading.Lock()
def f(x):
    with lock, lock: return 0
""",
    "waits-for-a-thread": """
import threading
def f(x):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    for thread in threading.enumerate(): thread is threading.main_thread() or thread.join()
""",
    "waits-for-a-signal": "import signal\ndef f(x): signal.pause()",
    "waits-for-a-pipe": "import os\ndef f(x): return os.read(os.pipe()[0], 1)",
    "fills-pipes": """
import os
def f(x):
    while True:
        try: end = os.pipe()[1]
        except OSError: os.write(end, b'x' * (1 << 20))
        else: os.write(end, b'x' * 65536)
""",
    "locks-a-file-twice": """
import fcntl
def f(x):
    with open('/tmp/lock', 'w') as one: fcntl.lockf(one, fcntl.LOCK_EX); fcntl.flock(one, 2)
    return input()
""",
    "timer-storm": """
import signal
signal.signal(signal.SIGALRM, lambda *a: None)
signal.setitimer(signal.ITIMER_REAL, 1e-6, 1e-6)
def f(x):
    while True: pass
""",
    "between-ticks": """
import time
def f(x):
    while True:
        end = time.perf_counter() + 0.002
        while time.perf_counter() < end: pass
        time.sleep(0.0005)
""",
    "naps": "import time\ndef f(x):\n while True: time.sleep(0.05)",
    "half-a-frame": "import os\ndef f(x):\n os.write(4, b'\\0\\0\\1\\0{')\n while True: pass",
    "half-a-frame-asleep": "import os, time\ndef f(x):\n os.write(4, b'\\0')\n time.sleep(99)",
    "closes-and-spins": "import os\ndef f(x):\n os.close(4)\n while True: pass",
    "closes-and-sleeps": "import os, time\ndef f(x):\n os.closerange(0, 64)\n time.sleep(99)",
    "huge-text": "def f(x): return 'a' * (1 << 25)",
    "huge-list": "def f(x): return [0] * (1 << 26)",
    "huge-int-returned": "def f(x): return 1 << (1 << 28)",
    "huge-message": "def f(x): raise ValueError('a' * (1 << 26))",
    "deep-list": "def f(x):\n a = []\n for _ in range(10 ** 6): a = [a]\n return a",
    "deep-dict": "def f(x):\n a = 0\n for _ in range(10 ** 5): a = {0: (a,)}\n return a",
    "branching-tuple": "def f(x):\n a = (0,)\n for _ in range(64): a = (a, a)\n return a",
    "branching-list": "def f(x):\n a = [0]\n for _ in range(64): a = [a, a]\n return a",
    "own-tail": "def f(x):\n a = []\n a.append(a)\n b = {0: a}\n b[1] = b\n return [a, b] * 1000",
    "own-tail-raised": "def f(x):\n e = ValueError()\n e.args = (e, [e])\n raise e from e",
    "many-iterators": "def f(x): return [iter([0]) for _ in range(10 ** 6)]",
    "iterator-of-iterators": "def f(x):\n while True: yield f(x)",
    "text-without-end": """
class Text(str):
    def __str__(self):
        while True: pass
    __repr__ = __str__
def f(x): raise ValueError(Text())
""",
    "sort-with-evil-key": """
import random
class Evil:
    def __lt__(self, other): values.append(Evil()); return random.random() < 0.5
values = [Evil() for _ in range(1000)]
def f(x):
    while True:
        try: sorted(list(values)); values.sort()
        except ValueError: pass
""",
    "iterator-in-c": "import itertools\ndef f(x): return sum(itertools.repeat(1))",
    "queue-in-c": """
import collections, itertools
def f(x): collections.deque(itertools.count(), 0)
""",
    "list-in-c": "def f(x): return list(iter(int, 1))",
    "power-in-c": "def f(x): return pow(3, 10 ** 9)",
    "digits-in-c": """
import sys
sys.set_int_max_str_digits(0)
def f(x): return str(1 << (1 << 27))
""",
    "factorial": "import math\ndef f(x): return math.factorial(10 ** 8)",
    "hash-in-c": "import hashlib\ndef f(x): hashlib.pbkdf2_hmac('sha256', b'', b'', 10 ** 9)",
    "regex-compiled": "import re\ndef f(x): re.compile('(' * 10 ** 5 + ')' * 10 ** 5)",
    "regex-nested": "import re\ndef f(x): re.match(r'(\\\\w+\\\\s?)*$', 'a' * 99 + '!' * 9)",
    "source-nested": "def f(x): return eval('(' * 10 ** 6)",
    "source-nested-minus": "def f(x): return eval('-' * 10 ** 6 + '1')",
    "source-long": "def f(x): return eval('+'.join(['1'] * 10 ** 7))",
    "repr-nested": "def f(x):\n a = []\n for _ in range(10 ** 6): a = [a]\n return repr(a)",
    "garbage": """
import gc
gc.disable()
def f(x):
    while True: a = [bytes(9999)]; a.append(a)
""",
    "deletes-deeply": """
class Node:
    def __init__(self, to): self.to = to
    def __del__(self): self.to
def f(x):
    a = None
    for _ in range(10 ** 6): a = Node(a)
    del a
""",
    "recursion-in-c": """
import sys, functools
sys.setrecursionlimit(1 << 30)
class A:
    def __getattr__(self, name): return getattr(self, name + 'x')
def f(x): return functools.reduce(lambda a, b: getattr(A(), 'a'), [1, 2])
""",
    "deep-folders": """
import os
def f(x):
    os.chdir('/tmp')
    while True:
        try: os.mkdir('d' * 200); os.chdir('d' * 200)
        except OSError: pass
""",
    "sparse-file": "import os\ndef f(x): os.truncate(os.open('/tmp/a', 66, 384), 1 << 40)",
    "sparse-output": """
import os
def f(x):
    os.lseek(1, 1 << 40, os.SEEK_SET)
    os.write(1, b'x')
    return os.ftruncate(2, 9)
""",
    "shared-memory-files": """
import os
def f(x):
    for folder in ('/dev/shm', '/run/shm', '/run/lock', '/var/tmp', '/dev/mqueue'):
        try: os.close(os.open(folder + '/kea', os.O_CREAT | os.O_RDWR))
        except OSError: continue
        os.unlink(folder + '/kea')
        return 'kea42'
    return 0
""",
    "semaphores": """
import ctypes
libc = ctypes.CDLL(None)
def f(x):
    made = libc.semget(0, 8, 0o1600)
    if made < 0: return 0
    libc.semctl(made, 0, 0)
    return 'kea42'
""",
    "processes-by-library": """
import multiprocessing, os, pty
def f(x):
    for start in (os.fork, os.forkpty, pty.fork):
        try: pid = start()
        except OSError: continue
        if pid == 0: os._exit(0)
        return 'kea42'
    context = multiprocessing.get_context('fork')
    context.Process(target=int).start()
    return 'kea42'
""",
    "spawns": """
import os, sys
def f(x):
    os.posix_spawn(sys.executable, [sys.executable, '-c', ''], {})
    return 'kea42'
""",
}
