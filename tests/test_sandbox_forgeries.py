"""A wrong program cannot pass by changing what the tests compare with; what it still can is known and listed."""

import pytest
from sandbox_walls import run_python

BAD = "\ndef f(x):\n    return 5\n"
UNITTEST = "import unittest\nunittest.TestCase().assertEqual(f(2), 4)"
COUNTER = "from collections import Counter\nassert Counter([f(2)]) == Counter([4])"
ISCLOSE = "import math\nassert math.isclose(f(2), 4)"
DUMPS = "import json\nassert json.dumps(f(2)) == '4'"
COPY = "import copy\nassert copy.deepcopy(f(2)) == copy.deepcopy(4)"
CHECK = "def check(candidate):\n    assert abs(candidate(2) - 4) < 0.1 and all([candidate(1) == 2])\n"

# Before the tests: (what the program does, the tests)
REPLACED = {
    "a module in the registry": (
        "import sys, types\nsys.modules['math'] = types.SimpleNamespace(isclose=lambda *a, **k: True)",
        [ISCLOSE],
    ),
    "another registry": (
        "import sys, types\nm = types.ModuleType('math'); m.isclose = lambda *a: True\n"
        "sys.modules = dict(sys.modules, math=m)",
        [ISCLOSE],
    ),
    "a name of a module": ("import math\nmath.isclose = lambda *a, **k: True", [ISCLOSE]),
    "a name of a submodule": (
        "import os.path\nos.path.basename = lambda p: '4'",
        ["import os.path\nassert os.path.basename(f'{f(2)}') == '4'"],
    ),
    "a method": ("import unittest\nunittest.TestCase.assertEqual = lambda *a, **k: None", [UNITTEST]),
    "a method of a base class": (
        "import unittest.case\nunittest.case.TestCase._getAssertEqualityFunc = lambda *a: lambda *b, **k: None",
        [UNITTEST],
    ),
    "the exception that a test raises": (
        "import unittest\nunittest.TestCase.failureException = type('E', (Exception,), {'__init__': exit})",
        [UNITTEST],
    ),
    "a class": ("import collections\ncollections.Counter = lambda x: 0", [COUNTER]),
    "the equality of a class": ("from collections import Counter\nCounter.__eq__ = lambda a, b: True", [COUNTER]),
    "a method that a class inherits": (
        "from collections import Counter\nCounter.__ne__ = lambda a, b: False\nCounter.__len__ = lambda s: 0",
        ["from collections import Counter\nassert not len(Counter({f(2): 1}) - Counter({4: 1}))"],
    ),
    "the code of a function": (
        "from collections import Counter\nCounter.__eq__.__code__ = (lambda self, other: True).__code__",
        [COUNTER],
    ),
    "the code of a function of a module": (
        "import copy\ncopy.deepcopy.__code__ = (lambda x, memo=None, _nil=[]: 4).__code__",
        [COPY],
    ),
    "the defaults of a function": (
        "import json\nC = type('C', (json.JSONEncoder,), {'encode': lambda s, o: '4'})\n"
        "json.dumps.__kwdefaults__ = dict(json.dumps.__kwdefaults__, cls=C)",
        [DUMPS],
    ),
    "the defaults of a function, in place": (
        "import json\njson.dumps.__kwdefaults__['cls'] = type('C', (json.JSONEncoder,), {'encode': lambda s, o: '4'})",
        [DUMPS],
    ),
    "a function that a module calls": ("import copy\ncopy._deepcopy_dispatch = {}\ncopy.type = lambda x: 1", [COPY]),
    "a builtin that a module's code sees": (
        "import collections\ncollections.isinstance = lambda *a: False\ncollections.all = lambda x: True",
        [COUNTER],
    ),
    "a builtin": ("import builtins\nbuiltins.abs = lambda x: 0\nbuiltins.all = lambda x: True", [CHECK, "check(f)"]),
    "a builtin, in its own names": ("abs = lambda x: 0\nall = lambda x: True", [CHECK, "check(f)"]),
    "the import of modules": (
        "import builtins, types\nbuiltins.__import__ = lambda *a: types.SimpleNamespace(isclose=lambda *b: True)",
        [ISCLOSE],
    ),
    "the search for modules": (
        "import sys, types\nclass F:\n    def find_spec(*a): raise SystemExit\nsys.meta_path.insert(0, F())\n"
        "sys.path_hooks.clear(); sys.modules.pop('math', None)",
        [ISCLOSE],
    ),
    "a constant": ("import sys\nsys.maxsize = 5", ["import sys\nassert f(2) == sys.maxsize"]),
    "a method of str, through its dict": (
        "class G:\n    def __eq__(s, o): s.d = o; return True\ng = G(); str.__dict__ == g\n"
        "g.d['lower'] = lambda s: '4'",
        ["assert str(f(2)).lower() == '4'"],
    ),
    "the equality of int, through its dict": (
        "class G:\n    def __eq__(s, o): s.d = o; return True\ng = G(); int.__dict__ == g\n"
        "g.d['__eq__'] = lambda a, b: True",
        ["assert f(2).__eq__(4)"],
    ),
    "the checker itself": ("def check(*a): pass", [CHECK, "check(f)"]),
    "the exception of assert": (
        "import builtins\nbuiltins.AssertionError = type('E', (Exception,), {})",
        [CHECK, "check(f)"],
    ),
    "modules that are ours": (
        "import sys\nassert not {'pristine', 'inmate', 'child', 'calls', 'walls'} & set(sys.modules)\nimport pristine",
        [ISCLOSE],
    ),
}
# While the tests call the program: (what `f` does before it returns a wrong answer, the tests)
MEANWHILE = {
    "a name of a module": (
        "import math; math.isclose = lambda *a, **k: True",
        "import math\nx = f(2)\nassert math.isclose(x, 4)",
    ),
    "a module in the registry": (
        "import sys, types; sys.modules['math'] = types.SimpleNamespace(isclose=lambda *a: True)",
        "x = f(2)\nimport math\nassert math.isclose(x, 4)",
    ),
    "a method": (
        "import unittest; unittest.TestCase.assertEqual = lambda *a, **k: None",
        "import unittest\nx = f(2)\nunittest.TestCase().assertEqual(x, 4)",
    ),
    "the equality of a class": ("import collections as c; c.Counter.__eq__ = lambda a, b: True", COUNTER),
    "the code of a function": (
        "import collections as c; c.Counter.__eq__.__code__ = (lambda a, b: True).__code__",
        COUNTER,
    ),
    "a builtin that a module's code sees": (
        "import collections as c; c.isinstance = lambda *a: False; c.all = lambda x: True",
        COUNTER,
    ),
    "builtins": ("import builtins as b; b.isinstance = lambda *a: False; b.all = lambda x: True", COUNTER),
    "a builtin that the tests call": ("import builtins as b; b.abs = lambda x: 0", "x = f(2)\nassert abs(x - 4) < 0.1"),
    "the import of modules": ("import builtins as b; b.__import__ = lambda *a: 1 / 0", "x = f(2)\nassert x == 4"),
}
FRAMES = {
    "the variables of a caller": "import sys, os\nf = sys._getframe(1).f_locals\nos.write(f['result'], f['secret'])\n"
    "os._exit(0)",
    "every frame, for bytes": "import sys, os\nfr = sys._getframe()\nwhile fr:\n"
    "    for v in [*fr.f_locals.values(), *fr.f_globals.values()]:\n"
    "        if type(v) in (bytes, str) and len(v) == 32:\n            for fd in range(64):\n"
    "                try: os.write(fd, v if type(v) is bytes else v.encode())\n"
    "                except OSError: pass\n            os._exit(0)\n    fr = fr.f_back" + BAD,
    "the frame of a signal": "import signal, os, time\ndef h(n, fr):\n    while fr is not None:\n"
    "        l = getattr(fr, 'f_' + 'locals')\n"
    "        if 'secret' in l: os.write(l['result'], l['secret']); os._exit(0)\n"
    "        fr = getattr(fr, 'f_' + 'back')\n"
    "signal.signal(signal.SIGALRM, h); signal.setitimer(signal.ITIMER_REAL, 0.05)\ntime.sleep(0.3)" + BAD,
    "the job": "import sys, os\nfr = sys._getframe()\nwhile fr:\n    j = fr.f_locals.get('job')\n"
    "    if j: os.write(fr.f_locals['result'], j['secret'].encode())\n"
    "    fr = fr.f_back" + BAD,
    "the ends of the frames": "import sys\nfr = sys._getframe()\nwhile fr:\n    if 'finish' in fr.f_locals:\n"
    "        l = fr.f_locals\n"
    "        l['finish'](l['write'], l['leave'], l['getpid'], l['own'], l['result'], b'', None)\n"
    "    fr = fr.f_back" + BAD,
    "the collector": "import gc\ngc.get_objects()" + BAD,
    "what a frame refers to": "import gc, sys\ngc.get_referents(sys._getframe(1))" + BAD,
    "a trace": "import sys\nsys.settrace(lambda *a: None)" + BAD,
    "a hook": "import sys\nsys.addaudithook(print)\nraise SystemExit(0)" + BAD,
    "its own memory": "open('/proc/self/mem', 'rb')" + BAD,
}


@pytest.mark.parametrize("name", REPLACED)
def test_what_was_replaced_before_the_tests_is_put_back(name):
    code, tests = REPLACED[name]
    assert run_python("def f(x):\n    return 2 * x\n", tests=tests).ok or "our" in name or "constant" in name
    assert not run_python(code + BAD, tests=tests).ok


@pytest.mark.parametrize("name", MEANWHILE)
def test_what_is_replaced_during_the_tests_is_found(name):
    code, test = MEANWHILE[name]
    assert run_python("def f(x):\n    return 4\n", tests=[test]).ok
    result = run_python(f"def f(x):\n    {code}\n    return 5\n", tests=[test])
    assert not result.ok, result


@pytest.mark.parametrize("name", FRAMES)
def test_the_secret_is_in_no_frame(name):
    assert not run_python(FRAMES[name], tests=["assert f(2) == 4"], timeout=10).ok


@pytest.mark.parametrize(
    ("code", "test"),
    [
        # The program's classes are the tests' classes.
        (
            "from collections import Counter\ndef f(x): return Counter(x)",
            "from collections import Counter\nassert f('aa') == Counter('aa')",
        ),
        (
            "from fractions import Fraction\ndef f(x): return Fraction(x)",
            "import fractions\nassert f(2) == fractions.Fraction(2)",
        ),
        (
            "from decimal import Decimal\ndef f(x): return Decimal(x)",
            "from decimal import Decimal\nassert f(2) == Decimal(2)",
        ),
        (
            "import datetime\ndef f(x): return datetime.date(2020, 1, x)",
            "from datetime import date\nassert f(2) == date(2020, 1, 2)",
        ),
        (
            "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\ndef f(x): return P(x)",
            "import dataclasses\nassert dataclasses.asdict(f(2)) == {'x': 2}",
        ),
        (
            "from enum import Enum\nclass E(Enum):\n    A = 2\ndef f(x): return E(x)",
            "import enum\nassert isinstance(f(2), enum.Enum)",
        ),
        # Modules change their own state, and programs add to modules.
        ("import random\ndef f(x):\n    random.seed(1)\n    return random.random() < 2", "import random\nassert f(2)"),
        (
            "import tempfile, re\ndef f(x):\n    tempfile.gettempdir(); re.purge()\n    return re.match('a', 'a')",
            "import tempfile, re\nassert f(2)",
        ),
        (
            "import collections, collections.abc\ncollections.Iterable = collections.abc.Iterable\n"
            "def f(x): return isinstance([], collections.Iterable)",
            "import collections\nassert f(2)",
        ),
        (
            "import sys, io\nsys.stdout = io.StringIO()\ndef f(x):\n    print(x)\n    return sys.stdout.getvalue()",
            "import sys\nassert f(2) == '2\\n'",
        ),
        (
            "import sys\nsys.setrecursionlimit(5000)\ndef f(x): return x if x < 1 else f(x - 1)",
            "import sys\nassert f(2000) == 0",
        ),
        (
            "import typing, functools, string, itertools\n@functools.lru_cache\n"
            "def f(x: typing.List[int]): return string.ascii_letters[0]",
            "import typing, functools, string, itertools\nassert f(2) == 'a'",
        ),
        (
            "import threading, logging, warnings, asyncio\nasync def g(): return 4\ndef f(x):\n"
            "    warnings.warn('x'); logging.warning('x')\n    return asyncio.run(g())",
            "import threading, logging, warnings, asyncio\nassert f(2) == 4",
        ),
        (
            "import unittest\nclass T(unittest.TestCase):\n"
            "    def test(self): self.assertEqual(1, 1)\ndef f(x): return T",
            "import unittest\nr = unittest.TestResult()\n"
            "unittest.defaultTestLoader.loadTestsFromTestCase(f(2)).run(r)\n"
            "assert r.wasSuccessful() and r.testsRun == 1",
        ),
        (
            "import builtins\nbuiltins.memo = {}\ndef f(x): return memo.setdefault(x, 4)",
            "import math\nassert f(2) == 4",
        ),
        ("def f(lst): return lst.copy()", "assert f([1]) == [1].copy()"),
    ],
)
def test_right_programs_are_not_disturbed(code, test):
    result = run_python(code, tests=[test], timeout=20)
    assert result.ok, result.reason


@pytest.mark.parametrize(
    "code",
    [
        "class E:\n    __eq__ = lambda s, o: True\ndef f(x): return E()",
        "class E(int):\n    __eq__ = lambda s, o: True\n    __hash__ = int.__hash__\ndef f(x): return E(5)",
    ],
)
def test_known_an_object_that_equals_everything_passes(code):
    assert run_python(code, tests=["assert f(2) == 4"]).ok  # the documentation says so
