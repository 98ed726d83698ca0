# any tier: host -> limit_exceeded wall_s
# The echo of the last expression runs guest code after the snippet's last line.
# limits: wall_s=0.2
class Sticky:
    def __repr__(self):
        while True:
            try:
                while True:
                    pass
            except BaseException:
                continue


Sticky()
