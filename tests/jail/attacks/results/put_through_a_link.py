# any tier: file_reader -> completed
# The user writes a file whose name the guest has made a link to a file of the host.
# put: input.csv -> written
# get: input.csv -> put by the host
os.symlink(WRITABLE_FILE, "input.csv")
