"""What is kept: whole or not at all, counted, and found again."""

import asyncio
import errno
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import ConfigError, RequestError, StorageError
from runner.server.store import blobs as blobs_module
from runner.server.store.container_store import ContainerStore
from runner.server.store.conversation_store import ConversationStore
from runner.server.store.database import Database, Table
from runner.server.store.file_store import FileStore
from runner.server.store.ids import is_id, new_id
from runner.server.store.records import ContainerRow
from runner.server.store.response_store import ResponseStore, StoredResponse, without_images
from runner.server.store.storage import COUNTED, SPARE_BYTES, Storage
from runner.transcript import CodeRun, Question, Record, ToolResult, Turn

OWNER, CAP = "one", 10_000


@pytest.fixture
def storage(tmp_path):
    found = Storage(tmp_path / "data")
    yield found
    found.close()


def contents(storage):
    """Every file below the folder of contents, half-written ones too."""
    root = storage.blobs._root
    return [path for path in root.rglob("*") if path.is_file()]


async def upload(storage, data, *, name="a.txt", cap=CAP, owner=OWNER):
    with storage.blobs.writer() as writer:
        writer.write(data)
        return await FileStore(storage).add(
            owner, name, writer, purpose="user_data", expires_in_s=None, cap_bytes=cap
        )


def container(owner=OWNER):
    return ContainerRow(
        id=new_id("cntr"), owner=owner, name="x", created_at=1, last_active_at=1, idle_minutes=5,
        memory_limit="",
    )  # fmt: skip


# ---- ids ----------------------------------------------------------------------------------------


def test_ids_are_new_sort_by_time_and_are_told_from_other_text():
    made = [new_id("file", "-") for _ in range(1000)]
    assert made == sorted(made)
    assert len({one[-20:] for one in made}) == 1000
    assert all(map(is_id, made))
    assert not any(map(is_id, ("", "file-", "file-xyz", made[0] + "0", "../" + made[0])))


# ---- contents -----------------------------------------------------------------------------------


async def test_a_content_is_read_as_it_was_written_and_private(storage):
    blob = await storage.blobs.add(b"text")
    assert await storage.blobs.read(blob.name, blob.sha256) == b"text"
    assert os.stat(storage.blobs.path(blob.name)).st_mode & 0o777 == 0o600
    assert os.stat(storage.blobs._root).st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o077 for path in storage._root.glob("kept.sqlite*")} == {0}


async def test_a_copy_outlives_what_it_was_copied_from(storage):
    first = await storage.blobs.add(b"text")
    second = await storage.blobs.copy(first)
    storage.blobs.remove(first.name, first.name)
    assert await storage.blobs.read(second.name, second.sha256) == b"text"


async def test_a_content_that_is_not_what_was_written_is_not_given_out(storage):
    blob = await storage.blobs.add(b"text")
    storage.blobs.path(blob.name).write_bytes(b"tent")
    with pytest.raises(StorageError, match="is not what was written"):
        await storage.blobs.read(blob.name, blob.sha256)


STEPS = ("open", "write", "fsync", "rename")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
@pytest.mark.parametrize("step", STEPS)
async def test_a_disk_that_fails_at_any_step_leaves_nothing(storage, monkeypatch, step, number):
    def fail(*_args, **_options):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        if step == "rename":
            patch.setattr(blobs_module.Path, "rename", fail)
        else:
            patch.setattr(blobs_module.os, step, fail)
        with pytest.raises(StorageError) as caught:
            await upload(storage, b"text")
    assert caught.value.fault == ("failed" if number == errno.EIO else "full")
    assert "/" not in caught.value.public
    assert contents(storage) == []
    assert await storage.used(OWNER) == 0
    assert (await upload(storage, b"text")).size_bytes == 4


async def test_a_full_database_undoes_the_upload_and_goes_on_later(storage):
    database = storage._database

    def pages(most):
        database._connection.pragma("max_page_count", most)

    await storage.run(lambda _kept: pages(1))
    ends = [await asyncio.gather(upload(storage, b"x"), return_exceptions=True) for _ in range(99)]
    errors = [end for (end,) in ends if isinstance(end, StorageError)]
    assert {error.fault for error in errors} == {"full"}
    kept = len(contents(storage))
    assert kept + len(errors) == 99
    assert await storage.used(OWNER) == kept
    await storage.run(lambda _kept: pages(100_000))
    await upload(storage, b"x")
    assert await storage.used(OWNER) == kept + 1


async def test_on_a_full_disk_room_that_was_set_aside_lets_things_be_deleted(storage, monkeypatch):
    files, file = FileStore(storage), await upload(storage, b"x")
    assert storage._spare.stat().st_size == SPARE_BYTES
    run, full = storage._database.run, StorageError("full")

    async def growing(work):
        if storage._spare.exists():
            raise full
        return await run(work)

    with monkeypatch.context() as patch:
        patch.setattr(storage._database, "run", growing)
        with pytest.raises(StorageError):
            await storage.run(lambda kept: kept.number("SELECT 1"))
        await storage.free(lambda kept: kept.change("DELETE FROM files"))
    assert not storage._spare.exists()
    assert await files.get(OWNER, file.id) is None
    await storage.sweep()
    assert storage._spare.exists()


async def test_what_a_crash_left_behind_goes_with_the_next_start(tmp_path):
    storage = Storage(tmp_path)
    whole = await upload(storage, b"whole")
    lost = await upload(storage, b"lost")
    half = storage.blobs.writer()
    half.write(b"ha")
    await storage.blobs.add(b"without a row")
    storage.blobs.path(lost.blob).unlink()
    storage.close()
    storage = Storage(tmp_path)
    files = FileStore(storage)
    assert contents(storage) == [files.path(whole)]
    assert await files.get(OWNER, whole.id) == whole
    assert await files.get(OWNER, lost.id) is None
    assert await storage.used(OWNER) == 5
    storage.close()


# ---- the database -------------------------------------------------------------------------------


def test_a_directory_serves_one_server_and_is_free_after_it(tmp_path):
    first = Storage(tmp_path)
    with pytest.raises(ConfigError, match="is in use by another server"):
        Storage(tmp_path)
    first.close()
    Storage(tmp_path).close()


def test_a_file_of_another_format_or_none_is_refused(tmp_path):
    Database(tmp_path / "new", "CREATE TABLE t (a)", version=2).close()
    with pytest.raises(ConfigError, match="has format 2, this version knows 1"):
        Database(tmp_path / "new", "", version=1)
    (tmp_path / "kept.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(ConfigError, match="cannot be used"):
        Storage(tmp_path)


class Row(Record):
    id: str
    owner: str


@given(
    count=st.integers(0, 12),
    limit=st.integers(1, 5),
    order=st.sampled_from(["asc", "desc"]),
    gone=st.sets(st.integers(0, 11)),
)
@settings(deadline=None, max_examples=40)
def test_pages_together_are_the_whole_list_whatever_is_deleted_behind_them(
    tmp_path_factory, count, limit, order, gone
):
    path = tmp_path_factory.mktemp("pages") / "x"
    schema = "CREATE TABLE rows (id TEXT PRIMARY KEY, owner TEXT)"
    database, table = Database(path, schema, version=1), Table("rows", Row)
    ids = [new_id("row") for _ in range(count)]

    def work(kept):
        for one in ids:
            kept.add(table, Row(id=one, owner=OWNER))
            kept.add(table, Row(id=new_id("row"), owner="two"))
        seen, after = [], None
        while True:
            page = kept.page(table, "owner = ?", OWNER, after=after, limit=limit, order=order)
            assert len(page.rows) == min(limit, count - len(seen))
            seen += [row.id for row in page.rows]
            if not page.has_more:
                return seen
            after = seen[-1]
            for place in gone:
                if place < len(ids) and ids[place] in seen:
                    kept.change("DELETE FROM rows WHERE id = ?", ids[place])

    assert database.now(work) == (ids if order == "asc" else ids[::-1])
    database.close()


def test_an_error_undoes_all_that_its_transaction_wrote(tmp_path):
    database = Database(tmp_path / "x", "CREATE TABLE rows (id TEXT, owner TEXT)", version=1)

    def work(kept):
        kept.add(Table("rows", Row), Row(id="a", owner=OWNER))
        raise RequestError("quota", "too much")

    with pytest.raises(RequestError):
        database.now(work)
    assert database.now(lambda kept: kept.number("SELECT count(*) FROM rows")) == 0
    database.close()


# ---- bytes of an owner --------------------------------------------------------------------------


async def test_bytes_are_counted_over_all_kinds_and_given_back(storage):
    kept, files, responses = ContainerStore(storage), FileStore(storage), ResponseStore(storage)
    file = await upload(storage, b"12345")
    row = container()
    await kept.add(row)
    await kept.copy(row, file, cap_bytes=CAP)
    await kept.write(row, "b", b"123", "user", cap_bytes=CAP)
    await kept.write(row, "b", b"1234567", "assistant", cap_bytes=CAP)
    assert await storage.used(OWNER) == 5 + 5 + 7
    response = StoredResponse(id="resp_1", owner=OWNER, created_at=1, body={"status": "completed"})
    await responses.save(response)
    await responses.save(response)

    def summed(transaction):
        sums = "SELECT coalesce(sum(size_bytes), 0) FROM {}"
        return sum(transaction.number(sums.format(table)) for table in COUNTED)

    assert await storage.used(OWNER) == await storage.run(summed) > 17
    await responses.delete(OWNER, "resp_1")
    await kept.delete(row.id)
    assert await storage.used(OWNER) == 5
    await files.delete(OWNER, file.id)
    assert await storage.used(OWNER) == 0
    assert contents(storage) == []


async def test_two_uploads_at_once_do_not_pass_the_limit_together(storage):
    tries = [upload(storage, bytes(600), cap=1000) for _ in range(4)]
    ends = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(end, RequestError) and end.fault == "quota" for end in ends) == 3
    assert await storage.used(OWNER) == 600
    assert len(contents(storage)) == 1


async def test_a_caller_that_leaves_finds_a_whole_file_or_none(storage):
    for _ in range(20):
        task = asyncio.create_task(upload(storage, b"text"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
    while len(contents(storage)) * 4 != await storage.used(OWNER):
        await asyncio.sleep(0)
    page = await FileStore(storage).page(OWNER, purpose=None, after=None, limit=50, order="asc")
    assert len(page.rows) * 4 == await storage.used(OWNER)


async def test_no_room_on_the_disk_is_said_before_any_work(storage, monkeypatch):
    await storage.check_room(OWNER, 1)
    with pytest.raises(RequestError, match="may store 0 bytes"):
        await storage.check_room(OWNER, 0)
    monkeypatch.setattr("runner.server.store.storage.SPARE_BYTES", 2**62)
    with pytest.raises(StorageError, match="The server's disk is full"):
        await storage.check_room(OWNER, CAP)


async def test_what_is_deleted_meanwhile_stays_deleted(storage):
    kept, talks = ContainerStore(storage), ConversationStore(storage)
    with pytest.raises(RequestError, match="Container not found"):
        await kept.write(container(), "a", b"data", "assistant", cap_bytes=CAP)
    talk = await talks.add(OWNER, {}, [], cap_bytes=CAP)
    await talks.delete(talk)
    assert await talks.extend(talk, [{"type": "message", "role": "user"}]) == []
    assert contents(storage) == []
    assert await storage.used(OWNER) == 0


# ---- responses ----------------------------------------------------------------------------------


async def test_an_item_is_found_in_any_response_of_its_owner_alone(storage):
    responses = ResponseStore(storage)
    call = {"id": "ci_1", "type": "code_interpreter_call", "code": "1"}
    said = {"id": "msg_1", "type": "message", "role": "user", "content": "x"}
    await responses.save(
        StoredResponse(
            id="resp_1", owner=OWNER, created_at=1, body={"output": [call]}, input_items=(said,)
        )
    )
    assert await responses.item(OWNER, "ci_1") == call
    assert await responses.item(OWNER, "msg_1") == said
    assert await responses.item("two", "ci_1") is None
    await responses.sweep(retention_s=60)
    assert await responses.item(OWNER, "ci_1") is None


def test_a_kept_conversation_has_no_pictures_and_all_of_the_rest():
    run = CodeRun(code="plot()", stdout="x", images=("data:image/png;base64,iVBOR",))
    result = ToolResult(call_id="a", tool="code_interpreter", shown="x", details=run)
    turn = Turn(text="Here.", results=(result,))
    question = Question(text="?", images=("data:image/png;base64,iVBOR",))
    kept_question, kept_turn = without_images((question, turn))
    assert kept_question == question
    assert kept_turn.results[0].details == run.model_copy(update={"images": ()})
