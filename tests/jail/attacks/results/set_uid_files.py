# any tier: file_reader -> completed
# The bits must not come along to the host.
# get: tool -> tool
os.umask(0)
with os.fdopen(os.open("tool", os.O_CREAT | os.O_WRONLY, 0o6777), "w") as stream:
    stream.write("tool")
