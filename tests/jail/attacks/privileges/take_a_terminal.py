# any tier: descriptors -> completed, nothing
# None of the streams is a terminal, and there is none to open.
terminals = [fd for fd in (0, 1, 2) if os.isatty(fd)]
try:
    terminals.append(os.open("/dev/tty", os.O_RDWR))
except OSError:
    pass
if terminals:
    escaped(terminals)
else:
    contained("nothing")
