# namespaces: mount_namespace -> completed, ENOENT | landlock: landlock -> completed, EACCES/ENOENT
# Devices, firmware variables, kernel parameters and debug files.
names = """kernel/uevent_helper kernel/debug kernel/security kernel/mm class/net block
firmware/efi/efivars power/state module devices/system/cpu/vulnerabilities bus/pci""".split()
attempt(*(lambda path=f"/sys/{name}": os.open(path, os.O_RDONLY) for name in names))
