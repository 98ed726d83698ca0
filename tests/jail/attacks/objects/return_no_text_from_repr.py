# any tier: protocol -> completed
# The echo is no text.
class Broken:
    def __repr__(self):
        return 7


Broken()
