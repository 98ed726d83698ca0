# any tier: protocol -> raised Reduced
# An exception that runs a command when it is unpickled; it crosses as text.
class Reduced(Exception):
    def __reduce__(self):
        return os.system, (f"touch {HOST_DIRECTORY}/unpickled",)


raise Reduced("unpickle me")
