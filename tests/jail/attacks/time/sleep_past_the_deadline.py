# any tier: host -> limit_exceeded wall_s
# The interrupt ends a sleep.
# limits: wall_s=0.2
import time

time.sleep(20)
escaped("slept")
