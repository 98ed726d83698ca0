# any tier: capabilities -> completed, EPERM
# Bind one directory over another to get a copy with other flags.
MS_BIND, MS_REC = 4096, 16384
os.mkdir("copy")
attempt(lambda: call("mount", b"/", b"copy", None, MS_BIND | MS_REC, None))
