"""Hostile programs.  None may pass, hurt the parent, or be seen by the next job.

Each is a whole program; the entry point is ``f``, and the tests are `TEST`, whose answer no
program can know.
"""

from __future__ import annotations

TEST = "\n".join(
    [
        "secret = 'kea' + str(40 + 2)",
        "assert f(1) == secret",
        "try:",
        "    assert candidate([2]) == [secret]",
        "except Exception:",
        "    raise AssertionError('no')",
    ]
)

# Forge a pass.
FORGE = {
    "sys-exit": "import sys\ndef f(x): sys.exit(0)",
    "sys-exit-on-load": "import sys\nsys.exit(0)",
    "os-exit": "import os\ndef f(x): os._exit(0)",
    "atexit": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return 0",
    "always-equal": """
class Yes:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
def f(x): return Yes()
""",
    "always-equal-str": """
class Yes(str):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
def f(x): return Yes('no')
""",
    "always-equal-list": """
class Yes(list):
    def __eq__(self, other): return True
def f(x): return Yes()
""",
    "always-equal-metaclass": """
class Meta(type):
    def __eq__(cls, other): return True
    __hash__ = None
class Yes(metaclass=Meta): pass
def f(x): return Yes
""",
    "patched-json": """
import json
json.dumps = lambda *a, **k: '["passed", ""]'
json.encoder.JSONEncoder.encode = lambda *a, **k: '["passed", ""]'
def f(x): return 0
""",
    "patched-codec": """
import sys
for name, module in list(sys.modules.items()):
    if 'sandbox' in name:
        for key, value in list(vars(module).items()):
            if callable(value) and key in ('dumps', 'encode', 'describe', 'failure'):
                setattr(module, key, lambda *a, **k: b'["passed", ""]')
def f(x): return 0
""",
    "patched-builtins": """
import builtins
class AssertionError(BaseException): pass
builtins.AssertionError = AssertionError
builtins.exec = builtins.compile = lambda *a, **k: None
def f(x): return 0
""",
    "verdict-on-every-descriptor": """
import os
for fd in range(64):
    for data in (b'["passed", ""]\\n', b'\\x00\\x00\\x00\\x0e["passed", ""]'):
        try: os.write(fd, data)
        except OSError: pass
def f(x): return 0
""",
    "raw-frames": """
import os, json, struct
def frame(node):
    data = json.dumps(node).encode()
    os.write(4, struct.pack('>I', len(data)) + data)
def f(x):
    for node in ({'value': {'@': 0}}, {'value': {'yours': 0}}, {'stop': 0}, ['passed', '']):
        frame(node)
    os._exit(0)
""",
    "raw-entry": """
import os, json, struct
for node in ({'value': {'type': 'str'}}, {'value': {'named': ['builtins', 'eval']}}):
    data = json.dumps(node).encode()
    os.write(4, struct.pack('>I', len(data)) + data)
def f(x): return 0
""",
    "huge-frame": "import os\ndef f(x):\n os.write(4, b'\\xff\\xff\\xff\\xff' + b'[' * 65536)",
    "deep-frame": """
import os, struct
def f(x):
    data = b'{"value":' + b'[' * 100000 + b']' * 100000 + b'}'
    data = struct.pack('>I', len(data)) + data
    while data: data = data[os.write(4, data):]
""",
    "call-the-tests": """
import os, json, struct
def f(x):
    for handle in range(-3, 4):
        data = json.dumps({'call': handle, 'args': {'tuple': []}, 'names': []}).encode()
        os.write(4, struct.pack('>I', len(data)) + data)
""",
    "stop-iteration": "def f(x): raise StopIteration(0)",
    "generator-exit": "def f(x): raise GeneratorExit",
    "keyboard-interrupt": "def f(x): raise KeyboardInterrupt",
    "own-assertion-error": "def f(x): raise AssertionError",
    "frame-walk": """
import sys
def f(x):
    frame = sys._getframe()
    while frame:
        for key, value in list(frame.f_locals.items()) + list(frame.f_globals.items()):
            if isinstance(value, str) and value.startswith('kea'): return value
            if key == 'peer': value.fault = None
        frame = frame.f_back
    return 0
""",
    "trace": """
import sys, threading
def tracer(frame, event, arg):
    secret = frame.f_locals.get('secret')
    if secret: f.answer = secret
    return tracer
sys.settrace(tracer)
def f(x): return getattr(f, 'answer', 0)
""",
    "not-a-number": "def f(x): return float('nan')",
}

# Find the tests.
LEAK = {
    "heap-walk": """
import gc
def f(x):
    for value in gc.get_objects():
        if isinstance(value, dict) and 'secret' in value: return value['secret']
    return 0
""",
    "modules": """
import sys
def f(x):
    for module in list(sys.modules.values()):
        if hasattr(module, 'secret'): return module.secret
    return 0
""",
    "payload-files": """
import os
def f(x):
    for fd in range(64):
        try: data = os.pread(fd, 100000, 0)
        except OSError: continue
        if b'kea' in data: return 'kea42'
    return 0
""",
    "proc-memory": """
def f(x):
    for pid in ['self', *range(1, 100)]:
        try: data = open(f'/proc/{pid}/environ').read() + open(f'/proc/{pid}/mem', 'rb').name
        except OSError: continue
        return 'kea42'
    return 0
""",
    "peek-at-the-channel": """
import socket
def f(x):
    s = socket.socket(fileno=4)
    return s.recv(1000, socket.MSG_PEEK)
""",
    "read-own-memory": """
import ctypes
def f(x):
    return 'kea42' if b'secret =' in ctypes.string_at(id(f), 1 << 16) else 0
""",
}

# Exhaust something.
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
}

# Get out.
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
}

ATTACKS = {**FORGE, **LEAK, **EXHAUST, **ESCAPE}
