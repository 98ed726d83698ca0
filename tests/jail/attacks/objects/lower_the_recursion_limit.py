# any tier: protocol -> completed or died exit 70
# The engine's own last steps run under the limit that the snippet leaves behind.
depth, frame = 1, sys._getframe()
while frame := frame.f_back:
    depth += 1
for limit in range(depth, depth + 100):
    try:
        sys.setrecursionlimit(limit)
    except RecursionError:
        continue
    break
