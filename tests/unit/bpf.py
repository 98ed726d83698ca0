"""A machine that runs classic BPF programs as seccomp does, for tests of filters.

It knows the instructions that seccomp(2) lets through and refuses a program that the kernel
would refuse. Source: linux/filter.h, kernel/seccomp.c (seccomp_check_filter), net/core/filter.c.
"""

import struct
from collections.abc import Iterable
from typing import NamedTuple

MAX_INSTRUCTIONS = 4096
_INSTRUCTION = struct.Struct("=HBBI")
_DATA = struct.Struct("=IIQ6Q")
_WORD = 0xFFFFFFFF

_LOAD_ABSOLUTE = 0x20
_LOAD_IMMEDIATE = 0x00
_AND_CONSTANT = 0x54
_JUMP = 0x05
_JUMP_IF_EQUAL = 0x15
_JUMP_IF_GREATER = 0x25
_JUMP_IF_AT_LEAST = 0x35
_JUMP_IF_BITS = 0x45
_RETURN_CONSTANT = 0x06
_CONDITIONS = (_JUMP_IF_EQUAL, _JUMP_IF_GREATER, _JUMP_IF_AT_LEAST, _JUMP_IF_BITS)


class Instruction(NamedTuple):
    code: int
    if_true: int
    if_false: int
    constant: int


class Verdict(NamedTuple):
    action: int
    steps: int


Program = tuple[Instruction, ...]


def assemble(instructions: Iterable[tuple[int, int, int, int]]) -> bytes:
    """A program of (code, jump if true, jump if false, constant) rows."""
    return b"".join(_INSTRUCTION.pack(*fields) for fields in instructions)


def load(program: bytes) -> Program:
    """The instructions of `program`. Raises ValueError where the kernel would answer EINVAL."""
    instructions = tuple(Instruction(*fields) for fields in _INSTRUCTION.iter_unpack(program))
    if not 0 < len(instructions) <= MAX_INSTRUCTIONS:
        raise ValueError(f"a program of {len(instructions)} instructions")
    for at, instruction in enumerate(instructions):
        left = len(instructions) - at - 1
        if instruction.code == _JUMP:
            inside = instruction.constant < left
        elif instruction.code in _CONDITIONS:
            inside = max(instruction.if_true, instruction.if_false) < left
        elif instruction.code == _LOAD_ABSOLUTE:
            inside = instruction.constant % 4 == 0 and instruction.constant < _DATA.size
        elif instruction.code in (_LOAD_IMMEDIATE, _AND_CONSTANT, _RETURN_CONSTANT):
            inside = True
        else:
            raise ValueError(f"instruction {at} has the unknown code {instruction.code:#x}")
        if not inside:
            raise ValueError(f"instruction {at} points outside: {instruction}")
    if instructions[-1].code != _RETURN_CONSTANT:
        raise ValueError("the last instruction is not a return")
    return instructions


def run(
    program: Program, arch: int, number: int, arguments: tuple[int, ...] = (), *, pointer: int = 0
) -> Verdict:
    """What `program` answers to one call, and after how many instructions.

    Missing arguments are 0; each is a 64-bit register.
    """
    registers = (*arguments, *([0] * (6 - len(arguments))))
    data = _DATA.pack(number & _WORD, arch, pointer, *registers)
    words = struct.unpack(f"={_DATA.size // 4}I", data)
    accumulator = 0
    at = 0
    steps = 0
    while True:
        code, if_true, if_false, constant = program[at]
        at += 1
        steps += 1
        if code == _LOAD_ABSOLUTE:
            accumulator = words[constant // 4]
        elif code == _JUMP_IF_EQUAL:
            at += if_true if accumulator == constant else if_false
        elif code == _JUMP_IF_AT_LEAST:
            at += if_true if accumulator >= constant else if_false
        elif code == _JUMP_IF_GREATER:
            at += if_true if accumulator > constant else if_false
        elif code == _JUMP_IF_BITS:
            at += if_true if accumulator & constant else if_false
        elif code == _AND_CONSTANT:
            accumulator &= constant
        elif code == _JUMP:
            at += constant
        elif code == _LOAD_IMMEDIATE:
            accumulator = constant
        else:
            return Verdict(constant, steps)
