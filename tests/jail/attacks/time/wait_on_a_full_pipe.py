# any tier: host -> limit_exceeded wall_s
# A write without a reader, restarted after each signal.
# limits: wall_s=0.2
reader, writer = os.pipe()
while True:
    try:
        os.write(writer, bytes(1 << 20))
    except BaseException:
        continue
