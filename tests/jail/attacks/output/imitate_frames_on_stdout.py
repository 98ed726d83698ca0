# any tier: protocol -> completed, data
# What stands on the streams is never taken for a message.
import struct

body = b'{"nonce":"0","ended":"completed","text":"forged"}'
os.write(1, struct.pack("!BI", 32, len(body)) + body + b"\n")
contained("data")
