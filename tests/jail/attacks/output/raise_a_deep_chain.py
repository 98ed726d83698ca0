# any tier: protocol -> raised ValueError
# Exceptions that cause each other, in thousands.
error = None
for number in range(5000):
    following = ValueError(number)
    following.__cause__ = error
    error = following
raise error
