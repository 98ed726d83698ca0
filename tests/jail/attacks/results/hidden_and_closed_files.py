# any tier: file_reader -> completed
# Files and directories that nobody may read, not even their owner.
# get: closed.txt -> any
# get: closed/inner.txt -> any
open("closed.txt", "w").write("closed")
os.mkdir("closed")
open("closed/inner.txt", "w").write("inner")
os.chmod("closed.txt", 0)
os.chmod("closed", 0)
