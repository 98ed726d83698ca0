# any tier: protocol -> raised EOFError
# Nothing stands on stdin; a wait for a person would last for ever.
input()
