# uses: a handler of one's own for SIGINT, raised by the program itself
# out: caught SIGINT
import signal

before = signal.getsignal(signal.SIGINT)
signal.signal(signal.SIGINT, lambda number, frame: print("caught", signal.Signals(number).name))
signal.raise_signal(signal.SIGINT)
signal.signal(signal.SIGINT, before)
