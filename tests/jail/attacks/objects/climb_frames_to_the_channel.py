# any tier: protocol -> fault, spoke out of turn
# The frames above the snippet hold the engine's channel: use it to speak out of turn.
frame = sys._getframe()
channels_found = []
while frame is not None:
    for value in list(frame.f_locals.values()):
        inner = getattr(value, "_channel", None)
        if inner is not None:
            channels_found.append(inner)
    frame = frame.f_back
for channel in channels_found:
    channel._socket.sendall(b"\x20\x00\x00\x00\x02{}")
contained("spoke out of turn")
