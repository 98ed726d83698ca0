# any tier: file_reader -> completed
# A name of invalid bytes for a directory, with files that can only be reached through it.
os.mkdir(b"\xff\xfe\xfd")
with open(b"\xff\xfe\xfd/\xfc.txt", "w") as stream:
    stream.write("inside")
