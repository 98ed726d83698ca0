# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES/ENOENT
# core_pattern and modprobe name programs that the kernel runs as root on the host.
names = """sys/kernel/core_pattern sys/kernel/modprobe sys/kernel/hotplug sysrq-trigger
sys/kernel/hostname sys/vm/overcommit_memory sys/net/ipv4/ip_forward acpi/wakeup
sys/kernel/randomize_va_space sys/fs/binfmt_misc/register bus/pci/devices""".split()
attempt(*(lambda path=f"/proc/{name}": os.open(path, os.O_WRONLY) for name in names))
