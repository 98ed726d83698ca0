# any tier: host -> limit_exceeded wall_s
# KeyboardInterrupt is an exception like others.
# limits: wall_s=0.2
while True:
    try:
        while True:
            pass
    except BaseException:
        continue
