# uses: stat, rename, glob, chmod, utime, links, resolve
# tiers: namespaces
# out: ['a/one.txt', 'a/two.txt'] 0o600 True two.txt 2
import os
from pathlib import Path

base = Path("a")
base.mkdir()
(base / "one.txt").write_text("1")
(base / "tmp").write_text("22")
(base / "tmp").rename(base / "two.txt")
(base / "one.txt").chmod(0o600)
os.utime(base / "one.txt", (0, 0))
(base / "link").symlink_to("two.txt")
os.link(base / "two.txt", base / "hard")
print(
    sorted(map(str, base.glob("*.txt"))), oct((base / "one.txt").stat().st_mode & 0o777),
    (base / "one.txt").stat().st_mtime == 0, (base / "link").resolve().name,
    (base / "hard").stat().st_nlink,
)
