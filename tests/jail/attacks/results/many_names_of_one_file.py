# any tier: file_reader -> completed
# Five hundred hard links: a copy of each would be five hundred times the file.
# get: name7 -> any
with open("name0", "wb") as stream:
    stream.write(b"x" * 100_000)
for number in range(1, 500):
    os.link("name0", f"name{number}")
