# namespaces: mount_namespace -> completed, EROFS | landlock: capabilities -> completed, EPERM
# Neither owner nor mode nor times of a shared file may change.
targets = (sys.executable, os.__file__, "/etc", "/usr", "/usr/bin/env")
attempt(
    *(lambda path=path: os.chmod(path, 0o777) or path for path in targets),
    *(lambda path=path: os.chown(path, os.getuid(), os.getgid()) or path for path in targets),
    *(lambda path=path: os.utime(path, (0, 0)) or path for path in targets),
)
