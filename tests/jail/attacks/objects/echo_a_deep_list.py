# any tier: protocol -> completed
# A list in a list in a list.
deep = []
for _ in range(100_000):
    deep = [deep]
deep
