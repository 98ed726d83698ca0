"""What a session sends as a value is that value, or refused, whatever its bytes are."""

import gc
import io
import json
import struct
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.protocol import long_json
from sandbox.protocol.long_json import read_long_json
from sandbox.protocol.values import Packed, ValueRefused, pack_value, unpack_value

MiB = 1024 * 1024
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
texts = st.recursive(
    leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=40
)


@given(value=texts, window=st.integers(8, 60))
def test_a_long_text_reads_as_json_has_it(value, window):
    data = json.dumps(value).encode()
    patch = pytest.MonkeyPatch()
    with patch.context() as small:
        small.setattr(long_json, "AT_ONCE_BYTES", 0)
        small.setattr(long_json, "WINDOW_BYTES", 64 * window)
        assert read_long_json(data) == value


@given(value=texts, cut=st.integers(1, 10_000), junk=st.sampled_from([b"", b",", b"]", b"1", b'"']))
def test_what_is_no_json_is_refused_in_slices_as_at_once(value, cut, junk):
    whole = json.dumps(value).encode()
    data = whole[: cut % (len(whole) + 1)] + junk
    patch = pytest.MonkeyPatch()
    with patch.context() as small:
        small.setattr(long_json, "AT_ONCE_BYTES", 0)
        small.setattr(long_json, "WINDOW_BYTES", 64)
        try:
            found = read_long_json(data)
        except (ValueError, RecursionError):
            with pytest.raises((ValueError, RecursionError)):
                json.loads(data)
        else:
            assert json.loads(data) == found


@pytest.mark.parametrize(
    "value",
    [
        list(range(300_000)),
        ["tëxt, [with] {marks}"] * 30_000,
        [{"a": [number, None, "x"]} for number in range(20_000)],
        {str(number): 1.5 for number in range(50_000)},
        ["a" * 300_000, "b\n" * 200_000],
        [[[["x" * 100] * 50] * 50] * 5],
    ],
)
def test_a_value_of_megabytes_is_the_same(value):
    assert unpack_value(pack_value(value)) == value


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be", "utf-32-le"])
def test_json_in_another_encoding_is_no_json(encoding):
    with pytest.raises((UnicodeDecodeError, json.JSONDecodeError)):
        read_long_json('["\u2200", null]'.encode(encoding))


@pytest.mark.slow
@pytest.mark.parametrize(
    "data",
    [
        b"[" + b",".join([b"1234567"] * 1_500_000) + b"]",
        json.dumps(["\n" * 5_000_000] * 2).encode(),
        b"[" + b",".join([b"[1]"] * 45_000) + b"]",
    ],
    ids=["numbers", "escapes", "lists"],
)
def test_a_long_text_leaves_the_interpreter_to_other_threads(data):
    gc.freeze()  # What the tests hold takes a collection longer than what is read.
    thread = threading.Thread(target=read_long_json, args=(data,))
    waits = []
    thread.start()
    while thread.is_alive():
        began, used = time.perf_counter(), time.process_time()
        time.sleep(0.001)
        # What this process itself was busy with meanwhile: other programs are not in it.
        waits.append(min(time.perf_counter() - began, time.process_time() - used))
    thread.join()
    gc.unfreeze()
    assert max(waits) < 0.05


@pytest.mark.parametrize(
    "data",
    [b"[" * 50_001 + b"]" * 50_001, b"[" + b"1," * 5_000_001 + b"1]", b"[[],[" * 30_000],
)
def test_a_text_of_too_many_parts_is_refused(data):
    with pytest.raises(ValueRefused, match="more than"):
        unpack_value(Packed("json", data))


def test_marks_inside_of_texts_are_no_parts():
    value = ['[{,\\"' * 1_000_000]
    assert unpack_value(pack_value(value)) == value


@given(kind=st.sampled_from(["npy", "frame", "series", "arrow"]), data=st.binary(max_size=200))
def test_any_bytes_are_a_value_or_refused(kind, data):
    pytest.importorskip("pandas")
    try:
        unpack_value(Packed(kind, data))
    except ValueRefused:
        pass
    except ImportError as error:
        if kind != "arrow" or "pyarrow" not in str(error):
            raise


def npy(header: str, body: bytes = b"") -> bytes:
    packed = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(packed)) + packed + body


@pytest.mark.parametrize(
    ("header", "body"),
    [
        ("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", bytes(8)),
        ("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (1,)}", bytes(8)),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,)}", bytes(8)),
        ("{'descr': '<f8', 'fortran_order': False, 'shape': (-1, -1)}", bytes(8)),
        ("{'descr': '|V0', 'fortran_order': False, 'shape': (9999999999,)}", b""),
        ("{'descr': '|S0', 'fortran_order': False, 'shape': (9999999999,)}", b""),
        ("{'descr': __import__('os').getcwd(), 'fortran_order': 0, 'shape': ()}", b""),
    ],
)
def test_an_array_of_objects_or_of_a_false_size_is_refused(header, body):
    pytest.importorskip("numpy")
    with pytest.raises(ValueRefused):
        unpack_value(Packed("npy", npy(header, body)))


@pytest.mark.parametrize("zone", ["dateutil//etc/hostname", "/etc/hostname", "../../etc/hostname"])
def test_a_time_zone_that_is_a_path_is_not_opened(zone):
    pandas = pytest.importorskip("pandas")
    times = pandas.Series(pandas.to_datetime(["2026-11-30"]).tz_localize("Europe/Berlin"))
    kind, data = pack_value(times)
    (length,) = struct.unpack_from("<Q", data)
    assert unpack_value(Packed(kind, data)).equals(times)
    header = json.loads(data[8 : 8 + length])
    header["columns"][0][1] = f"tz:{zone}"
    forged = json.dumps(header).encode()
    with pytest.raises(ValueRefused, match="time zone"):
        unpack_value(Packed(kind, struct.pack("<Q", len(forged)) + forged + data[8 + length :]))


def test_a_stream_of_arrow_with_an_extension_or_a_compressed_body_is_refused():
    pyarrow = pytest.importorskip("pyarrow", reason="make test-arrow runs this")
    ipc = pytest.importorskip("pyarrow.ipc")
    table = pyarrow.table(
        {"a": list(range(1000)), "b": pyarrow.array(["x"] * 1000).dictionary_encode()}
    )
    assert unpack_value(pack_value(table)).equals(table)

    def stream(table, **options):
        out = io.BytesIO()
        with ipc.new_stream(out, table.schema, options=ipc.IpcWriteOptions(**options)) as writer:
            writer.write_table(table)
        return out.getvalue()

    with pytest.raises(ValueRefused, match="compressed"):
        unpack_value(Packed("arrow", stream(table, compression="lz4")))
    marked = pyarrow.schema(
        [pyarrow.field("a", pyarrow.int64(), metadata={"ARROW:extension:name": "x"})]
    )
    with pytest.raises(ValueRefused, match="extension"):
        unpack_value(Packed("arrow", stream(table.select(["a"]).cast(marked))))


def test_offsets_of_arrow_that_lead_out_of_their_bytes_are_refused():
    pyarrow = pytest.importorskip("pyarrow", reason="make test-arrow runs this")
    data = pack_value(pyarrow.table({"a": ["one", "two"]})).data
    offsets = struct.pack("<3i", 0, 3, 6)
    assert offsets in data
    with pytest.raises(ValueRefused):
        unpack_value(Packed("arrow", data.replace(offsets, struct.pack("<3i", 0, 3, 1 << 30))))
