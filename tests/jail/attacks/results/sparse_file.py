# any tier: file_reader -> completed
# As long as the limit lets it be, and all holes.
# get: holes.bin -> any
with open("holes.bin", "wb") as stream:
    stream.truncate(32 << 20)
