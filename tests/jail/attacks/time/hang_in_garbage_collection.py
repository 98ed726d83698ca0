# any tier: host -> limit_exceeded wall_s
# Callbacks of the collector run at times that nobody chose.
# limits: wall_s=0.2
import gc


def stick(phase, information):
    while True:
        try:
            while True:
                pass
        except BaseException:
            continue


gc.callbacks.append(stick)
gc.collect()
