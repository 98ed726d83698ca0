# any tier: host -> limit_exceeded wall_s
# So does the text of an exception.
# limits: wall_s=0.2
class Sticky(Exception):
    def __str__(self):
        while True:
            try:
                while True:
                    pass
            except BaseException:
                continue


raise Sticky
