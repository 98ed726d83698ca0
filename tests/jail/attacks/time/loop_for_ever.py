# any tier: host -> limit_exceeded wall_s
# The plainest of all.
# limits: wall_s=0.2
while True:
    pass
