# any tier: protocol -> completed
# A list in itself, a thousand times.
circle = []
circle.extend([circle] * 1000)
circle
