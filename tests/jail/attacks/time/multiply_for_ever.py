# any tier: host -> limit_exceeded wall_s
# Arithmetic on long numbers holds the lock for minutes.
# limits: wall_s=0.2
3 ** (1 << 26)
