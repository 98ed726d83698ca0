"""Filters built by libseccomp, the reference compiler, through ctypes: `apt install libseccomp2`.

libseccomp has no "first row that holds" and only one fallback for a whole filter. A table is
therefore built as a stack of filters: the n-th one holds the n-th row of every call and passes on
what that row says nothing about. The first filter of the stack that does not pass decides.
"""

import ctypes
import os
from collections.abc import Sequence
from itertools import product

from sandbox.guest.jail.callrules import DEFAULT, KILL_PROCESS, Check, Rule
from sandbox.guest.kernel.syscalls import AUDIT_ARCH, NUMBERS
from tests.unit import bpf
from tests.unit.calls import Arguments

PASS_ON = 0x7FF00001
"""SCMP_ACT_TRACE(1), which no row of ours answers."""
_ACT_BADARCH = 2
_CTL_OPTIMIZE = 8
_BINARY_TREE = 2
_MASKED_EQUAL = 7
_UNKNOWN_NAME = -1


class _Comparison(ctypes.Structure):
    """struct scmp_arg_cmp. Source: seccomp.h."""

    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


_library = ctypes.CDLL("libseccomp.so.2")
_library.seccomp_init.restype = ctypes.c_void_p
_library.seccomp_init.argtypes = (ctypes.c_uint32,)
_library.seccomp_release.restype = None
_library.seccomp_release.argtypes = (ctypes.c_void_p,)
_library.seccomp_attr_set.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32)
_library.seccomp_arch_native.restype = ctypes.c_uint32
_library.seccomp_arch_native.argtypes = ()
_library.seccomp_arch_add.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
_library.seccomp_arch_remove.argtypes = (ctypes.c_void_p, ctypes.c_uint32)
_library.seccomp_syscall_resolve_name.argtypes = (ctypes.c_char_p,)
_library.seccomp_syscall_resolve_name_arch.argtypes = (ctypes.c_uint32, ctypes.c_char_p)
_library.seccomp_export_bpf.argtypes = (ctypes.c_void_p, ctypes.c_int)
_library.seccomp_rule_add_array.argtypes = (
    ctypes.c_void_p,
    ctypes.c_uint32,
    ctypes.c_int,
    ctypes.c_uint,
    ctypes.POINTER(_Comparison),
)


def number_of(name: str, arch: str) -> int:
    """libseccomp's number of the call `name` on `arch`; negative if it knows none."""
    number: int = _library.seccomp_syscall_resolve_name_arch(AUDIT_ARCH[arch], name.encode())
    return number


class ReferenceFilter:
    """A rule table, compiled by libseccomp for `arch`, to be run in the tests' machine."""

    def __init__(self, rules: Sequence[Rule], arch: str) -> None:
        self._arch = AUDIT_ARCH[arch]
        self.unknown: set[str] = set()
        """Calls newer than this libseccomp, which it can place on no other architecture."""
        rows: dict[str, list[Rule]] = {}
        for rule in rules:
            for name in rule.calls.split():
                if name in NUMBERS[arch]:
                    rows.setdefault(name, []).append(rule)
        depth = max(len(own) for own in rows.values())
        self._stack = [
            self._build({name: own[level] for name, own in rows.items() if level < len(own)})
            for level in range(depth)
        ]

    def run(self, number: int, arguments: Arguments, *, arch: int | None = None) -> int:
        """The action for one call."""
        for program in self._stack:
            action = bpf.run(program, self._arch if arch is None else arch, number, arguments)
            if action.action != PASS_ON:
                return action.action
        return DEFAULT

    def _build(self, rows: dict[str, Rule]) -> bpf.Program:
        context = _library.seccomp_init(PASS_ON)
        try:
            native = _library.seccomp_arch_native()
            if native != self._arch:
                _must(_library.seccomp_arch_add(context, self._arch))
                _must(_library.seccomp_arch_remove(context, native))
            _must(_library.seccomp_attr_set(context, _ACT_BADARCH, KILL_PROCESS))
            _must(_library.seccomp_attr_set(context, _CTL_OPTIMIZE, _BINARY_TREE))
            for name, rule in rows.items():
                number = _library.seccomp_syscall_resolve_name(name.encode())
                if number == _UNKNOWN_NAME:
                    if native != self._arch:
                        self.unknown.add(name)
                        continue
                    number = next(
                        numbers[name]
                        for arch, numbers in NUMBERS.items()
                        if AUDIT_ARCH[arch] == native
                    )
                self._add(context, number, rule)
            return _export(context)
        finally:
            _library.seccomp_release(context)

    def _add(self, context: int, number: int, rule: Rule) -> None:
        # Values of one check are alternatives; a rule of libseccomp knows only "and".
        for chosen in product(*(check.values for check in rule.when)):
            comparisons = (_Comparison * len(chosen))(
                *(_compare(check, value) for check, value in zip(rule.when, chosen, strict=True))
            )
            _must(
                _library.seccomp_rule_add_array(
                    context, rule.action, number, len(chosen), comparisons
                )
            )


def _compare(check: Check, value: int) -> _Comparison:
    return _Comparison(check.argument, _MASKED_EQUAL, check.mask, value)


def _export(context: int) -> bpf.Program:
    fd = os.memfd_create("filter")
    try:
        _must(_library.seccomp_export_bpf(context, fd))
        return bpf.load(os.pread(fd, os.fstat(fd).st_size, 0))
    finally:
        os.close(fd)


def _must(result: int) -> None:
    if result < 0:
        raise OSError(-result, f"libseccomp: {os.strerror(-result)}")
