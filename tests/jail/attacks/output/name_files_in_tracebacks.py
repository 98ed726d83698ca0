# any tier: protocol -> raised ZeroDivisionError
# A traceback quotes the file that a code object names: here, the host's.
exec(compile("\n" * 3 + "1 / 0", CANARY_FILE, "exec"))
