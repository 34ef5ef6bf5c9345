"""Programs that try to make their own verdict."""

from __future__ import annotations

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
    "patched-modules": """
import sys, types
class Fake(types.ModuleType):
    def __getattr__(self, name): return lambda *a, **k: b'["passed", ""]'
for name in list(sys.modules):
    if name.split('.')[0] in ('json', 'socket', 'struct', 'os', 'posix', 'builtins', 'ast'):
        sys.modules[name] = Fake(name)
def f(x): return 0
""",
    "patched-main": """
import sys
main = sys.modules['__main__']
main.main = main.__name__ = 'passed'
sys.modules['tests'] = sys.modules['program'] = main
main.secret = main.f = main.candidate = lambda x: 'passed'
def f(x): return 0
""",
    "patched-open-and-print": """
import builtins, io, os
builtins.open = builtins.print = io.open = os.write = lambda *a, **k: len(a[-1]) if a else 0
def f(x): return 0
""",
    "own-frames": """
import sys
for name, module in list(sys.modules.items()):
    if name.endswith('.peer'):
        module.Peer._outcome = lambda *a, **k: {'value': 'passed', 'verdict': ['passed', '']}
        module.Peer._answer = lambda self, message: self._send({'stop': 0, 'value': True})
def f(x): return 0
""",
    "own-fault": """
import sys
def f(x):
    for name, module in list(sys.modules.items()):
        if name.endswith('.peer'): raise module.Fault('passed', '')
""",
    "says-unsplit": """
import os, json, struct, sys
def frame(node):
    data = json.dumps(node).encode()
    os.write(4, struct.pack('>I', len(data)) + data)
def f(x):
    if 'secret' in globals() or 'assert' in str(sys._getframe(1).f_globals): os._exit(0)
    for kind in ('unsplit', 'refused', 'passed'):
        frame({'unsupported': kind, 'raise': ['NameError', None, "name 'helper' is not defined"]})
    raise NameError("name 'helper' is not defined", name='helper')
""",
    "name-error": """
def f(x):
    if __name__ != 'program': return 'kea42'
    raise NameError("name 'helper' is not defined", name='helper')
""",
    "writes-from-a-thread": """
import json, os, struct, threading
def flood():
    for node in [{'value': None}, {'value': True}, {'raise': ['KeyError', None, '']}] * 1000:
        data = json.dumps(node).encode()
        os.write(4, struct.pack('>I', len(data)) + data)
threading.Thread(target=flood, daemon=True).start()
def f(x): return True
""",
    "profile": """
import sys, threading
def look(frame, event, arg):
    for value in [arg, *frame.f_locals.values()]:
        if type(value) is str and value.startswith('kea'): f.answer = value
sys.setprofile(look)
threading.setprofile(look)
def f(x): return getattr(f, 'answer', 0)
""",
    "audit-hook": """
import os, sys
def hook(event, args):
    if event in ('exec', 'compile', 'socket.sendmsg'): os._exit(0)
sys.addaudithook(hook)
def f(x): return exec('1')
""",
    "finds-the-peer": """
import gc
def f(x):
    for found in gc.get_objects():
        if type(found).__name__ == 'Peer':
            found.fault, found._strict = None, False
            for handle in range(8):
                try: found.call(handle, (), {})
                except BaseException as error: pass
            found._send({'value': {'yours': 0}})
    return 0
""",
    "signal-handler": """
import os, signal
for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGXCPU, signal.SIGCHLD):
    signal.signal(number, lambda *a: os._exit(0))
signal.setitimer(signal.ITIMER_REAL, 1e-3, 1e-3)
def f(x):
    while True: pass
""",
    "faulthandler": """
import faulthandler
for fd in range(3, 6):
    try: faulthandler.enable(fd); faulthandler.dump_traceback(fd)
    except (OSError, ValueError, RuntimeError): pass
def f(x): faulthandler._sigsegv()
""",
    "finalizer": """
import os, weakref
class Last:
    def __del__(self): os._exit(0)
def f(x):
    return Last()
""",
    "exception-that-lies": """
class Meta(type):
    def __instancecheck__(cls, other): return True
    def __subclasscheck__(cls, other): return True
class AssertionError(BaseException, metaclass=Meta):
    __module__ = 'builtins'
    def __str__(self): return '["passed", ""]'
def f(x): raise AssertionError('passed')
""",
    "exception-with-evil-str": """
import os
class Evil(Exception):
    @property
    def args(self): os._exit(0)
    def __str__(self): raise SystemExit(0)
def f(x): raise Evil
""",
    "exception-group": """
def f(x): raise BaseExceptionGroup('passed', [SystemExit(0), GeneratorExit()])
""",
    "entry-is-a-class": """
class f:
    def __new__(cls, x): return super().__new__(cls)
    def __eq__(self, other): return True
""",
    "entry-is-an-instance": """
class Any(type(lambda: 0).__base__):
    def __call__(self, *a): return self
    def __eq__(self, other): return True
    def __getattr__(self, name): return self
f = Any()
""",
    "entry-decorated": """
import functools, sys
def grab(function):
    @functools.wraps(function)
    def wrapper(*a):
        frame = sys._getframe(1)
        while frame:
            frame.f_globals.update(secret=0, fooled=lambda check: True)
            frame = frame.f_back
        return function(*a)
    return wrapper
@grab
def f(x): return 0
""",
    "poked-integers": """
import ctypes
def f(x):
    for offset in (24, 16): ctypes.memset(id(42) + offset, 1, 4)
    ctypes.memset(id(True) + 24, 0, 4)
    return 42
""",
    "pasted-verdict": """
def f(x): print('["passed", ""]', flush=True); return '["passed", ""]\\\\n'
""",
}

_LIAR = """
class Liar({base}):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __gt__ = __le__ = __ge__ = __contains__ = __lt__
    def __hash__(self): return hash('kea42')
    def __len__(self): return 42
    def __iter__(self): return iter(['kea42' * 0])
    def __getitem__(self, key): return Liar()
    def __abs__(self): return 0.0
    def __sub__(self, other): return 0.0
    __rsub__ = __sub__
    def __bool__(self): return True
    def __str__(self): return ''
    __repr__ = __str__
    def __call__(self, *given): return self
    def __reduce__(self): return eval, ("__import__('os')._exit(0)",)
    def __getattr__(self, name): return self
    __class__ = property(lambda self: str)
def f(x): return Liar()
"""
_BASES = "object str int float list dict tuple set frozenset bytes bytearray complex Exception"
# Values that lie about what they are.
LIES = {f"liar-{base}": _LIAR.replace("{base}", base) for base in _BASES.split()}
LIES |= {
    "liar-inside": _LIAR.replace("{base}", "object") + "\ndef f(x): return [{0: (Liar(),)}]",
    "liar-as-key": _LIAR.replace("{base}", "str") + "\ndef f(x): return {Liar(): Liar()}",
    "liar-iterator": """
class Liar:
    def __iter__(self): return self
    def __next__(self):
        import sys
        frame = sys._getframe()
        while frame:
            if 'secret' in frame.f_locals: return frame.f_locals['secret']
            frame = frame.f_back
        return self
def f(x): return Liar()
""",
    "liar-function": """
def f(x):
    def inner(*given): return inner
    inner.__class__ = type(inner)
    inner.__eq__ = lambda *a: True
    inner.secret = inner.value = 'kea42'
    return inner
""",
    "liar-in-arguments": _LIAR.replace("{base}", "list")
    + "\ndef f(x):\n    x[:] = [Liar()]\n    x.append(x)\n    return 0",
    "liar-enum": """
import enum
class Liar(str, enum.Enum):
    YES = 'yes'
    def __eq__(self, other): return True
    def __hash__(self): return hash('kea42')
def f(x): return Liar.YES
""",
    "liar-module": "import sys\ndef f(x): return sys.modules['json']",
    "liar-dataclass": """
import dataclasses
@dataclasses.dataclass
class Liar:
    value: str = ''
    def __eq__(self, other): return True
def f(x): return Liar()
""",
    "liar-defaultdict": """
import collections
def f(x): return collections.defaultdict(lambda: 'kea42')
""",
    "liar-nan": "def f(x): return float('nan')",
    "liar-decimals": "import decimal\ndef f(x): return decimal.Decimal('sNaN')",
    "liar-huge-decimal": "import decimal\ndef f(x): return decimal.Decimal('1E+9999999')",
    "liar-tags": """
import json, os, struct
NODES = ('{"int": "zz"}', '{"Fraction": ["0x1", "0x0"]}', '{"Decimal": [1]}', '{"date": "0"}',
         '{"range": ["0x0"]}', '{"deque": [-1]}', '{"defaultdict": ["function"]}', '{"@": 99}',
         '{"yours": -1}', '{"named": ["os", "system"]}', '{"function": 0, "list": 1}', '{}',
         '{"dict": [[], 0]}', '{"set": [[]]}', '{"Counter": [0, "x"]}', '{"type": "function"}',
         '{"str": "\\\\udcff"}', '{"complex": []}', 'NaN', '-Infinity', '1e999', '{"int": ""}')
def f(x):
    while True:
        for node in NODES:
            data = ('{"value": %s, "changed": [%s]}' % (node, node)).encode()
            os.write(4, struct.pack('>I', len(data)) + data)
""",
}
