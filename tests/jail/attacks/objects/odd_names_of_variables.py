# any tier: protocol -> completed
# Keys of the session's namespace that are no names, or no text.
names = globals()
names[1] = names[None] = names[()] = 1
names["\ud800"] = names["two words\n\x1b[2J"] = names["x" * 5_000_000] = 2
for number in range(20_000):
    names[f"variable{number}"] = number
