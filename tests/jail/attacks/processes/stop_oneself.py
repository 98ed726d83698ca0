# any tier: host -> limit_exceeded wall_s
# A stopped process spends no CPU time and handles no signal but SIGKILL and SIGCONT.
# limits: wall_s=0.3
import signal

os.kill(os.getpid(), signal.SIGSTOP)
escaped("went on")
