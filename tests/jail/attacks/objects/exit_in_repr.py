# any tier: protocol -> died exit 3
# The echo ends the process.
class Broken:
    def __repr__(self):
        os._exit(3)


Broken()
