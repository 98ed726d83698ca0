# any tier: seccomp -> completed, EPERM
# Without address randomization, with executable data, as another system.
# bare: escapes
ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC, UNAME26 = 0x40000, 0x400000, 0x20000
flags = (ADDR_NO_RANDOMIZE, READ_IMPLIES_EXEC, UNAME26)
attempt(*(lambda flag=flag: f"was {call('personality', flag)}" for flag in flags))
