# any tier: output_cap -> limit_exceeded output_bytes
# Neither the interrupt nor a broken pipe stops this writer.
import signal

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXCPU):
    signal.signal(number, signal.SIG_IGN)
block = b"x" * (1 << 16)
deadline = os.times().elapsed + 20
while os.times().elapsed < deadline:
    try:
        os.write(1, block)
    except BaseException:
        continue
escaped("20 seconds of writing")
