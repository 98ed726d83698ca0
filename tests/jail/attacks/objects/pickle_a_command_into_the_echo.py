# any tier: protocol -> completed
# The same as the value of the last expression.
class Reduced:
    def __reduce__(self):
        return os.system, (f"touch {HOST_DIRECTORY}/unpickled",)

    def __repr__(self):
        return "unpickle me"


Reduced()
