# any tier: host -> limit_exceeded wall_s
# One call that never comes back to the interpreter: no Python handler runs.
# limits: wall_s=0.2
import collections
import itertools

collections.deque(itertools.count(), maxlen=0)
