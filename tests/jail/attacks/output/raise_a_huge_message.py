# any tier: protocol -> raised ValueError
# So is the message of an exception.
raise ValueError("x" * 50_000_000)
