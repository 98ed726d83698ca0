# any tier: host -> limit_exceeded wall_s
# Audit hooks cannot be removed: this one holds up each open, import and compile.
# limits: wall_s=0.2
def hook(event, arguments):
    while event == "open":
        try:
            while True:
                pass
        except BaseException:
            continue


sys.addaudithook(hook)
open(os.devnull)
