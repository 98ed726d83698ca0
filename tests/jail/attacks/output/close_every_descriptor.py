# any tier: protocol -> died exit 70 or fault
# No stream, no channel, no way to say that it is over.
os.closerange(0, 256)
