# any tier: file_reader -> completed
# The link is not the last part of the path.
# get: folder/canary.txt -> refused
os.symlink(os.path.dirname(CANARY_FILE), "folder")
