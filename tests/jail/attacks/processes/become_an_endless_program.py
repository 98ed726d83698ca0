# any tier: host -> limit_exceeded wall_s
# A program that knows nothing of interrupts, deadlines or channels.
# limits: wall_s=0.3
import signal

signal.signal(signal.SIGINT, signal.SIG_IGN)
os.execv("/bin/sleep", ["sleep", "20"])
