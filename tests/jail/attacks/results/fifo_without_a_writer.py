# any tier: file_reader -> completed
# Opening it waits for ever.
# get: pipe.txt -> refused
os.mkfifo("pipe.txt")
