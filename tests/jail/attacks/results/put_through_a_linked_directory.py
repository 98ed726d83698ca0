# any tier: file_reader -> completed
# The link is a directory on the way.
# put: data/dropped -> refused
os.symlink(HOST_DIRECTORY, "data")
