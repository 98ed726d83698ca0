# any tier: file_reader -> completed
# Files and directories that nobody may read, not even their owner.
# get: closed.txt -> any
# get: closed/inner.txt -> refused
with os.fdopen(os.open("closed.txt", os.O_CREAT | os.O_WRONLY, 0), "w") as stream:
    stream.write("closed")
os.mkdir("closed", 0)
