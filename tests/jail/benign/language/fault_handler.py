# uses: faulthandler on a file, a watchdog thread
# out: True
import faulthandler

with open("trace.txt", "w+") as stream:
    faulthandler.dump_traceback(stream)
    faulthandler.dump_traceback_later(60, file=stream)
    faulthandler.cancel_dump_traceback_later()
    stream.seek(0)
    print("most recent call first" in stream.read())
