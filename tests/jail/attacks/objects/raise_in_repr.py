# any tier: protocol -> completed
# The echo raises.
class Broken:
    def __repr__(self):
        return 1 / 0


Broken()
