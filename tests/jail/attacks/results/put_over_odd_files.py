# any tier: file_reader -> completed
# A FIFO that nobody reads, a directory, a file that may not be written.
# put: fifo -> written
# put: folder -> refused
# put: closed -> written
# get: closed -> put by the host
os.mkfifo("fifo")
os.makedirs("folder/inner")
os.close(os.open("closed", os.O_CREAT | os.O_WRONLY, 0))
