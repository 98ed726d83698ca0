# any tier: file_reader -> completed, data
# A file where the engine would make that directory.
with open(".output", "w") as stream:
    stream.write("in the way")
os.write(1, b"\xff\xfe\n")
contained("data")
