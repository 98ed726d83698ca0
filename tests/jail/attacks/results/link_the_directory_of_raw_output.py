# any tier: file_reader -> completed, data
# The engine keeps output that is no UTF-8 in a directory of the workspace: here, a link.
os.symlink(HOST_DIRECTORY, ".output")
os.write(1, b"\xff\xfe\n")
contained("data")
