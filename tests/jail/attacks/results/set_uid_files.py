# any tier: file_reader -> completed
# The bits must not come along to the host.
# get: tool -> tool
open("tool", "w").write("tool")
os.chmod("tool", 0o6777)
