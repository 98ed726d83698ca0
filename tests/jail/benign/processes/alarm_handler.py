# uses: signal.alarm and setitimer with a handler
# out: 2 handled
import signal

count = []
signal.signal(signal.SIGALRM, lambda number, frame: count.append(number))
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.pause()
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.pause()
signal.signal(signal.SIGALRM, signal.SIG_DFL)
print(len(count), "handled")
