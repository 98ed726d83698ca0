# any tier: protocol -> raised GeneratorExit
# Exceptions that `except Exception` does not catch, in the engine either.
raise GeneratorExit("out")
