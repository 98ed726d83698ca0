# any tier: host -> died SIGSEGV
# Byte code is not checked: a constant far outside of the table.
def victim():
    return None


LOAD_CONST, EXTENDED_ARG = 100, 144
code = bytes([*[EXTENDED_ARG, 255] * 3, LOAD_CONST, 255, 83, 0])
victim.__code__ = victim.__code__.replace(co_code=code)
print(victim())
