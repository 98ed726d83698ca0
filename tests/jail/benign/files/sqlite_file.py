# uses: locks by fcntl, a journal, fsync, fchown
# out: [(1, 'a'), (2, 'b')] ok wal
import sqlite3

with sqlite3.connect("data.db") as base:
    base.execute("create table t (id integer primary key, name text)")
    base.executemany("insert into t (name) values (?)", [("a",), ("b",)])
with sqlite3.connect("data.db") as base:
    rows = base.execute("select * from t order by id").fetchall()
    check = base.execute("pragma integrity_check").fetchone()[0]
    mode = base.execute("pragma journal_mode=wal").fetchone()[0]
    base.execute("insert into t (name) values ('c')")
print(rows, check, mode)
base.close()
