"""The audit log: a line for each run, none of which can be changed without notice."""

import json

import pytest

from runner.errors import ConfigError
from runner.server.live.audit_log import AuditLog, first_broken

RUN = {"owner": "one", "via": "session", "where": "sess_1", "status": "completed"}


def written(path, count=3, **options):
    log = AuditLog(path, **options)
    for number in range(count):
        log.ran(code=f"x = {number}", **RUN)
    log.close()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_hold_the_hash_of_the_code_and_the_code_only_if_asked(tmp_path):
    line = written(tmp_path / "a.jsonl")[0]
    # printf 'x = 0' | sha256sum
    right = "bc3b5864a25454f5ac9c1ac2c3e54af4498664e94fa952d955f0bfb64ccd57fc"
    assert line["sha256"] == right
    assert (line["owner"], line["bytes"], "code" in line) == ("one", 5, False)
    assert written(tmp_path / "b.jsonl", with_code=True)[0]["code"] == "x = 0"


def test_the_chain_goes_on_over_a_restart(tmp_path):
    path = tmp_path / "a.jsonl"
    written(path)
    lines = written(path)
    assert len(lines) == 6
    assert [line["previous"] for line in lines] == ["", *(line["hash"] for line in lines[:-1])]
    assert first_broken(path) == (6, 0)


@pytest.mark.parametrize("harm", ["changed", "shadowed", "taken out", "put in", "garbled"])
def test_what_was_done_to_a_line_is_noticed(tmp_path, harm):
    path = tmp_path / "a.jsonl"
    written(path)
    lines = path.read_text().splitlines()
    if harm == "changed":
        lines[1] = lines[1].replace('"one"', '"two"')
    elif harm == "shadowed":
        lines[1] = '{"owner": "another", ' + lines[1].removeprefix("{")
    elif harm == "taken out":
        del lines[1]
    elif harm == "put in":
        lines.insert(1, lines[0])
    else:
        lines[1] = "{"
    path.write_text("\n".join(lines) + "\n")
    assert first_broken(path) == (len(lines), 2)


def test_a_file_is_of_one_server_and_ends_in_a_whole_line(tmp_path):
    path = tmp_path / "a.jsonl"
    log = AuditLog(path)
    with pytest.raises(ConfigError, match="in use by another server"):
        AuditLog(path)
    log.ran(code="1", **RUN)
    log.close()
    path.write_text(path.read_text()[:-10])
    with pytest.raises(ConfigError, match="whole line"):
        AuditLog(path)


def test_it_is_read_by_its_owner_alone_and_no_link_is_followed(tmp_path):
    path = tmp_path / "a.jsonl"
    written(path)
    assert path.stat().st_mode & 0o777 == 0o600
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(ConfigError):
        AuditLog(tmp_path / "link")
