# any tier: host -> limit_exceeded wall_s
# Sleep below Python, again after each signal.
# limits: wall_s=0.2
while True:
    LIBC.sleep(20)
