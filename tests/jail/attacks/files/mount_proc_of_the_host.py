# any tier: capabilities -> completed, EPERM
# A second /proc without the options that hide processes; a sysfs; the host's first disk.
os.mkdir("mine")
kinds = [(b"proc", b"proc"), (b"sysfs", b"sysfs"), (b"/dev/vda", b"ext4"), (b"c", b"cgroup2")]
attempt(*(lambda s=s, t=t: call("mount", s, b"mine", t, 0, None) for s, t in kinds))
