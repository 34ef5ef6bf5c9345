"""Programs that look for the tests, for other programs, and for what is the user's."""

from __future__ import annotations

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
        if b'str(40 + ' + b'2)' in data: return 'kea42'
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
import ctypes, re
def f(x):  # the pattern does not match itself
    found = re.search(rb"secre[t] = 'ke[a]'", ctypes.string_at(id(f), 1 << 16))
    return 'kea42' if found else 0
""",
    "source-of-the-tests": """
import inspect, linecache, traceback
def f(x):
    text = str(linecache.cache) + str(traceback.extract_stack())
    for info in inspect.stack():
        try: text += inspect.getsource(info.frame)
        except (OSError, TypeError): pass
    return 'kea42' if ''.join(reversed('= terces')) in text else 0
""",
    "searches-the-heap": """
import ctypes, re
def f(x):
    libc = ctypes.CDLL(None)
    libc.sbrk.restype = ctypes.c_void_p
    size = 1 << 20
    found = re.search(rb"secre[t] = 'ke[a]'", ctypes.string_at(libc.sbrk(0) - size, size))
    return 'kea42' if found else 0
""",
    "environment": """
import os
def f(x):
    known = {'PYTHONHASHSEED', 'LC_ALL', 'MALLOC_ARENA_MAX', 'LD_BIND_NOW',
             'LD_LIBRARY_PATH', 'PWD'}
    return 'kea42' if set(os.environ) - known else 0
""",
    "devices-and-links": """
import os
def f(x):
    for path in ('/proc/1/fd/0', '/proc/1/root/etc/passwd', '/etc/hostname', '/dev/urandom',
                 '/old/etc/passwd', '/../etc/passwd', '/proc/self/cwd/../etc/passwd',
                 '/proc/self/environ', '/proc/self/maps', '/proc/net/tcp', '/dev/mem', '/dev/kmsg',
                 '/sys/kernel/notes', '/run/utmp', '/var/log/syslog', '/dev/shm'):
        try: os.close(os.open(path, os.O_RDONLY))
        except OSError: continue
        return 'kea42'
    return 0
""",
    "process-list": """
import os
def f(x):
    seen = [pid for pid in range(2, 5000) if pid != os.getpid() and can_see(pid)]
    return 'kea42' if seen else 0
def can_see(pid):
    try: os.kill(pid, 0)
    except OSError: return False
    return True
""",
    "who-else-is-there": """
import os
def f(x):
    seen = [pid for pid in range(1, 5000) if os.path.exists(f'/proc/{pid}')]
    return 'kea42' if seen else 0
""",
    "files-by-name": """
import os
def f(x): return 'kea42' if os.path.exists('/etc/passwd') or os.path.exists('/var') else 0
""",
    "password-database": """
import pwd
def f(x): return 'kea42' if any(p.pw_name == 'root' for p in pwd.getpwall()) else 0
""",
    "reads-standard-input": """
import os, sys
def f(x):
    return 'kea42' if os.read(0, 9) or os.read(1, 9) or sys.stdin.read() else 0
""",
    "process-memory-of-another": """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def f(x):
    room = ctypes.create_string_buffer(8)
    parts = (ctypes.c_void_p * 2)(ctypes.addressof(room), 8)
    for pid in (os.getppid(), 1):
        if pid != os.getpid() and libc.process_vm_readv(pid, parts, 1, parts, 1, 0) >= 0:
            return 'kea42'
    return 0
""",
}
