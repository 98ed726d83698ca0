# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES/ENOENT
# Memory, kernel log, disks, hypervisor, terminals, consoles, input and loop devices.
names = """mem kmem port kmsg sda vda nvme0n1 kvm fuse net/tun loop-control loop0 tty console ptmx
tty0 tty1 vcs hpet rtc0 vhost-net vsock userfaultfd mapper/control cuse snapshot uinput
cpu_dma_latency autofs btrfs-control dri/card0 input/event0 vfio/vfio""".split()
attempt(*(lambda path=f"/dev/{name}": os.open(path, os.O_RDONLY | os.O_NOCTTY) for name in names))
