"""Candidates that want a pass without an answer, and what each must come to."""

from typing import NamedTuple


class Forgery(NamedTuple):
    name: str
    code: str
    outcome: str
    said: str
    """What the result must hold."""
    asked_alive: tuple[str, str] | None = None
    """Outcome and words where a judge lives beside the candidate, if they are others."""


FUNCTION_TASK = {
    "task_id": "double",
    "prompt": "",
    "entry_point": "double",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n"
    "    assert candidate('a') == 'aa'\n    assert candidate([1]) == [1, 1]\n",
}

LIVE_TASK = {
    **FUNCTION_TASK,
    "task_id": "double, asked alive",
    # No plan foresees a question about an attribute: the judge has to ask the candidate itself.
    "test": "def check(candidate):\n    assert candidate.__name__ == 'double'\n"
    "    assert candidate(2) == 4\n    assert candidate('a') == 'aa'\n"
    "    assert candidate([1]) == [1, 1]\n",
}

FUNCTION_FORGERIES = (
    Forgery("exit quietly", "import sys\nsys.exit(0)", "failed", "0"),
    Forgery("exit when called", "def double(x):\n    raise SystemExit(0)", "failed", "0"),
    Forgery(
        "leave by the kernel",
        "import os\ndef double(x):\n    os._exit(0)",
        "crashed",
        "status 0",
    ),
    Forgery("leave while loading", "import os\nos._exit(0)", "crashed", "status 0"),
    Forgery(
        "equal to everything",
        "class Yes:\n    def __eq__(self, other): return True\n"
        "    def __ne__(self, other): return False\n"
        "def double(x):\n    return Yes()",
        "failed",
        "",
    ),
    Forgery(
        "a text equal to everything",
        "class Yes(str):\n    def __eq__(self, other): return True\n    __hash__ = str.__hash__\n"
        "def double(x):\n    return Yes()",
        "failed",
        "",
    ),
    Forgery(
        "a list that lies about its items",
        "class Yes(list):\n    def __eq__(self, other): return True\n"
        "    def __iter__(self): return iter([1, 1])\n    __class__ = list\n"
        "def double(x):\n    return {2: 4, 'a': 'aa'}.get(x) if not isinstance(x, list) else Yes()",
        "failed",
        "",
    ),
    Forgery(
        "print a pass",
        "def double(x):\n    print('passed')\n    print('{\"outcome\": \"passed\"}')\n",
        "failed",
        "",
    ),
    Forgery(
        "print a pass and die",
        "import os, signal\nprint('passed', flush=True)\nos.kill(os.getpid(), signal.SIGKILL)",
        "crashed",
        "SIGKILL",
    ),
    Forgery(
        "kill the judge",
        "import os, signal\nprint('passed', flush=True)\n"
        "os.kill(os.getppid() or 1, signal.SIGKILL)\n"
        "import time\ntime.sleep(9)",
        "failed",
        "not permitted",
        ("crashed", "SIGKILL"),
    ),
    Forgery(
        "interrupt the judge",
        "import os, signal, time\nos.kill(os.getppid() or 1, signal.SIGINT)\ntime.sleep(9)",
        "failed",
        "",
    ),
    Forgery(
        "kill everybody",
        "import os, signal\nos.kill(-1, signal.SIGKILL)\nimport time\ntime.sleep(9)",
        "failed",
        "No such process",
        ("crashed", "SIGKILL"),
    ),
    Forgery(
        "stop the judge",
        "import os, signal, time\nos.kill(os.getppid() or 1, signal.SIGSTOP)\ntime.sleep(60)",
        "failed",
        "not permitted",
        ("timed_out", "timed out"),
    ),
    Forgery(
        "assertions that do nothing",
        "import builtins\nbuiltins.AssertionError = type('Quiet', (SystemExit,), {})\n"
        "def double(x):\n    return None",
        "failed",
        "",
    ),
    Forgery(
        "patched builtins",
        "import builtins, operator\nbuiltins.isinstance = lambda *_: True\n"
        "builtins.len = lambda _: 1\nbuiltins.exec = lambda *_: None\n"
        "def double(x):\n    return None",
        "crashed",
        "",
    ),
    Forgery(
        "a check of one's own",
        "def check(candidate):\n    pass\ndef double(x):\n    return None",
        "failed",
        "",
    ),
    Forgery(
        "modules for the judge to import",
        "for name in ('copy', 'math', 'json', 'unittest', 'ast', 'abc'):\n"
        "    for place in ('/workspace', '/tmp'):\n"
        "        with open(f'{place}/{name}.py', 'w') as stream:\n"
        "            stream.write('import os; os._exit(0)')\n"
        "def double(x):\n    return None",
        "failed",
        "",
    ),
    Forgery(
        "search the memory for the test",
        "import gc, sys\n"
        "def texts():\n"
        "    frame = sys._getframe()\n"
        "    while frame:\n"
        "        yield repr(frame.f_locals)\n        yield repr(frame.f_globals)[:100000]\n"
        "        frame = frame.f_back\n"
        "    for one in gc.get_objects():\n"
        "        if type(one) is dict:\n            yield str(one)[:10000]\n"
        # The word itself, spelt forwards, would be found in the candidate's own constants.
        "found = any('4 == )2(etadidnac' in text[::-1] for text in texts())\n"
        "def double(x):\n    return x * 2 if found else None",
        "failed",
        "",
    ),
    Forgery(
        "speak on every descriptor",
        "import os\nfor fd in range(3, 64):\n    try:\n"
        '        os.write(fd, b\'\\x00\\x00\\x00\\x0f["value", "yes"]\')\n'
        "    except OSError:\n        pass\n"
        "def double(x):\n    return None",
        "failed",
        "",
    ),
    Forgery(
        "speak too long",
        "import os\nfor fd in range(3, 64):\n    try:\n        os.write(fd, b'\\xff' * 64)\n"
        "    except OSError:\n        pass\n"
        "def double(x):\n    return None",
        "failed",
        "out of turn",
    ),
    Forgery(
        "reach the judge's descriptors",
        "import glob, os\n"
        "judge = f'/proc/{os.getppid() or 1}'\n"
        "for path in glob.glob(judge + '/fd/*') + [judge + '/mem']:\n"
        "    try:\n        os.write(os.open(path, os.O_RDWR), b'passed')\n"
        "    except OSError:\n        pass\n"
        "def double(x):\n    return None",
        "failed",
        "",
    ),
    Forgery(
        "the engine's own channel",
        "import sys, gc, socket\n"
        "for one in gc.get_objects():\n"
        "    inner = getattr(one, '_channel', None)\n"
        "    if inner is not None and hasattr(inner, '_socket'):\n"
        "        try:\n            inner._socket.sendall(b'\\x20\\x00\\x00\\x00\\x02{}')\n"
        "        except OSError:\n            pass\n"
        "def double(x):\n    return None",
        "failed",
        "",
    ),
    Forgery(
        "answer in a child",
        "import os\ndef double(x):\n    if os.fork() == 0:\n        return x * 2\n    return None",
        "failed",
        "",
    ),
    Forgery("use up the memory", "hog = bytearray(8 << 30)", "out_of_memory", ""),
    Forgery("loop for ever", "def double(x):\n    while True: pass", "timed_out", "timed out"),
    Forgery("crash in C", "import ctypes\nctypes.string_at(0)", "crashed", "SIGSEGV"),
    Forgery("go too deep", "def double(x):\n    return double(x)", "failed", "recursion"),
    Forgery(
        "return what is too deep",
        "def double(x):\n    value = []\n    for _ in range(100_000): value = [value]\n"
        "    return value",
        "failed",
        "",
    ),
)

CLASS_TASK = {
    "task_id": "stack",
    "kind": "unittest",
    "test": "import unittest\n\n"
    "class StackTest(unittest.TestCase):\n"
    "    def test_push(self):\n        stack = Stack()\n        stack.push(3)\n"
    "        self.assertEqual(stack.pop(), 3)\n"
    "    def test_size(self):\n        stack = Stack()\n        stack.push(1)\n"
    "        self.assertEqual(stack.size(), 1)\n        self.assertTrue(stack.size() > 0)\n",
}
WRONG_STACK = (
    "class Stack:\n    def push(self, value): pass\n    def pop(self): return 0\n"
    "    def size(self): return 0\n"
)

CLASS_FORGERIES = (
    Forgery("a wrong class", WRONG_STACK, "failed", ""),
    Forgery(
        "equal to everything",
        "class Yes(int):\n    def __eq__(self, other): return True\n"
        "    def __gt__(self, other): return True\n    __hash__ = int.__hash__\n"
        "class Stack:\n    def push(self, value): pass\n    def pop(self): return Yes(0)\n"
        "    def size(self): return Yes(0)\n",
        "failed",
        "does not hold",
    ),
    Forgery(
        "assertions that do nothing",
        "import unittest\nunittest.TestCase.assertEqual = lambda *_: None\n"
        "unittest.TestCase.assertTrue = lambda *_: None\n" + WRONG_STACK,
        "failed",
        "does not hold",
    ),
    Forgery(
        "tests that do not run",
        "import unittest\nunittest.TestCase.run = lambda *_: None\n" + WRONG_STACK,
        "failed",
        "",
    ),
    Forgery(
        "a suite without tests",
        "import unittest\nunittest.TestLoader.getTestCaseNames = lambda *_: []\n" + WRONG_STACK,
        "failed",
        "",
    ),
    Forgery(
        "results without failures",
        "import unittest\nunittest.TestResult.addFailure = lambda *_: None\n"
        "unittest.TestResult.addError = lambda *_: None\n" + WRONG_STACK,
        "failed",
        "",
    ),
    Forgery(
        "exit from a test",
        "import os\nclass Stack:\n    def __init__(self): os._exit(0)\n",
        "crashed",
        "status 0",
    ),
    Forgery(
        "skip from a test",
        "import unittest\nclass Stack:\n"
        "    def __init__(self): raise unittest.SkipTest('no need')\n",
        "failed",
        "without one of its assertions",
    ),
    Forgery(
        "exit by exception",
        "class Stack:\n    def __init__(self): raise SystemExit(0)\n",
        "failed",
        "",
    ),
)

PROGRAM_TASK = {
    "task_id": "sum",
    "kind": "stdio",
    "cases": [{"input": "1 2\n", "output": "3\n"}, {"input": "5 6\n", "output": "11\n"}],
}
PROGRAM_FORGERIES = (
    Forgery("one answer for all", "print(3)", "failed", "case 2"),
    Forgery("no answer", "import sys\nsys.exit(0)", "failed", "case 1"),
    Forgery("echo an answer", "sum(map(int, input().split()))", "failed", "case 1"),
    Forgery(
        "an error behind the answer",
        "print(sum(map(int, input().split())))\nraise ValueError('late')",
        "failed",
        "late",
    ),
    Forgery(
        "a status behind the answer",
        "import os\nprint(sum(map(int, input().split())), flush=True)\nos._exit(3)",
        "crashed",
        "status 3",
    ),
    Forgery("wait for ever", "import time\ntime.sleep(60)", "timed_out", "timed out"),
)
