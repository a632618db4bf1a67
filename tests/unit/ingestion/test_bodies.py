"""Bodies: packed in every way that SDKs pack, damaged, bombs, forms, arrays with a bad element."""

from __future__ import annotations

import base64
import gzip
import json
import zlib

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from millrace.api.http import ProblemError, Request, parse
from millrace.api.ingestion import bodies

TEXT = json.dumps([{"event": "click", "n": n} for n in range(200)]).encode()
LIMIT = 1 << 20
PACKED = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "zstd": zstd.compress(TEXT),
    "br": brotli.compress(TEXT),
}


@pytest.mark.parametrize("name", PACKED)
def test_is_unpacked_by_its_header(name: str) -> None:
    assert bodies.unpack(PACKED[name], name.upper(), LIMIT) == TEXT


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_is_unpacked_by_its_first_bytes(name: str) -> None:
    assert bodies.unpack(PACKED[name], "", LIMIT) == TEXT


@pytest.mark.parametrize("name", PACKED)
def test_is_taken_as_it_is_where_a_proxy_unpacked_it_and_left_the_header(name: str) -> None:
    assert bodies.unpack(TEXT, name, LIMIT) == TEXT


def test_bare_deflate_and_several_layers_and_members_are_unpacked() -> None:
    bare = zlib.compressobj(wbits=-15)
    assert bodies.unpack(bare.compress(TEXT) + bare.flush(), "deflate", LIMIT) == TEXT
    assert bodies.unpack(brotli.compress(PACKED["gzip"]), "gzip, br", LIMIT) == TEXT
    assert bodies.unpack(gzip.compress(b"[1,") + gzip.compress(b"2]"), "gzip", LIMIT) == b"[1,2]"
    for rest in (b"\0" * 512, b"\n", b"\r\n"):
        assert bodies.unpack(PACKED["gzip"] + rest, "gzip", LIMIT) == TEXT


def test_what_follows_a_packed_body_is_not_thrown_away_unseen() -> None:
    with pytest.raises(ProblemError) as caught:
        bodies.unpack(PACKED["gzip"] + b"[1]", "gzip", LIMIT)
    assert (caught.value.status, caught.value.code) == (400, "malformed_encoding")


@pytest.mark.parametrize("name", ["identity", "none", "utf-8", "UTF8", ""])
def test_what_packs_nothing_is_no_encoding(name: str) -> None:
    assert bodies.unpack(TEXT, name, LIMIT) == TEXT


@pytest.mark.parametrize("name", PACKED)
def test_a_bomb_is_refused_and_never_unpacked(name: str) -> None:
    bomb = {
        "gzip": gzip.compress,
        "x-gzip": gzip.compress,
        "deflate": zlib.compress,
        "zstd": zstd.compress,
        "br": lambda body: brotli.compress(body, quality=1),
    }[name](bytes(LIMIT + 1))
    with pytest.raises(ProblemError) as caught:
        bodies.unpack(bomb, name, LIMIT)
    assert caught.value.status == 413


def test_the_limit_itself_fits() -> None:
    assert len(bodies.unpack(gzip.compress(bytes(LIMIT)), "gzip", LIMIT)) == LIMIT


@pytest.mark.parametrize("name", ["gzip", "deflate", "zstd", "br"])
def test_cut_off_and_damaged_bodies_are_the_senders_fault(name: str) -> None:
    for body in (PACKED[name][:-5], PACKED[name][:20] + b"\xff\xff\xff" + PACKED[name][23:]):
        with pytest.raises(ProblemError) as caught:
            bodies.unpack(body, name, LIMIT)
        assert (caught.value.status, caught.value.code) == (400, "malformed_encoding")


def test_an_encoding_that_nobody_reads_and_endless_layers_are_refused() -> None:
    for encoding, status in (("compress", 415), (",".join(["gzip"] * 9), 400)):
        with pytest.raises(ProblemError) as caught:
            bodies.unpack(TEXT, encoding, LIMIT)
        assert caught.value.status == status
    with pytest.raises(ProblemError):
        bodies.unpack(gzip.compress(b"") * 1000, "gzip", LIMIT)


@given(st.binary(max_size=200), st.sampled_from(["", *PACKED, "gzip, br", "identity"]))
def test_any_bytes_are_unpacked_or_refused(body: bytes, encoding: str) -> None:
    try:
        unpacked = bodies.unpack(body, encoding, 1000)
    except ProblemError as problem:
        refused = problem.status
    else:
        refused = 400 if len(unpacked) <= 1000 else 0
    assert refused in {400, 413}


@pytest.mark.parametrize(
    "data",
    [
        '{"event": "a"}',
        base64.b64encode(b'{"event": "a"}').decode(),
        base64.urlsafe_b64encode(b'{"event": "a"}').decode().rstrip("="),
        base64.b64encode(gzip.compress(b'{"event": "a"}', mtime=0)).decode(),
    ],
)
def test_the_data_of_a_form_is_json_or_base64(data: str) -> None:
    body = f"verbose=1&data={data.replace('+', '%2B')}".encode()
    assert bodies.document(Request("POST", "/track", body=body)) == {"event": "a"}
    assert bodies.document(Request("GET", "/track", query_string=body)) == {"event": "a"}


def test_base64_of_a_form_may_have_plus_signs_unescaped_and_broken_lines() -> None:
    document = {"event": "a>>?~ ~~>>>"}
    data = base64.b64encode(json.dumps(document).encode()).decode()
    assert "+" in data
    for text in (data, f"{data[:9]}\r\n{data[9:]}\n"):
        asked = Request("POST", "/track", body=f"data={text}".encode())
        assert bodies.document(asked) == document


@pytest.mark.parametrize("where", ["body", "query"])
def test_a_form_of_endless_fields_is_refused(where: str) -> None:
    fields = b"&".join([b"a="] * 1_001)
    asked = (
        Request("POST", "/x", body=fields)
        if where == "body"
        else Request("GET", "/x", query_string=fields)
    )
    with pytest.raises(ProblemError) as caught:
        bodies.document(asked)
    assert (caught.value.status, caught.value.code) == (400, "malformed_form")
    assert len(bodies.form_data(b"&".join(b"a%d=" % n for n in range(1_000)))) == 1_000


def test_json_called_a_form_is_json() -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    request = Request("POST", "/v1/batch", headers=headers, body=b'{"batch": ["a=b"]}')
    assert bodies.document(request) == {"batch": ["a=b"]}


def test_what_some_sdks_write_that_is_no_json_spoils_nothing_beside_it() -> None:
    body = b'\xef\xbb\xbf[{"a": NaN, "b": 1e400, "c": "\\ud83d", "d": "\xff"}, {"e": 1}]'
    assert parse(body) == [{"a": "NaN", "b": "1e400", "c": "�", "d": "�"}, {"e": 1}]
    assert parse(b"[" + b"9" * 5000 + b"]") == ["9" * 5000]


@pytest.mark.parametrize("body", [b"", b"{", b"hello", b"[" * 100_000 + b"]" * 100_000])
def test_what_is_no_json_is_a_problem(body: bytes) -> None:
    with pytest.raises(ProblemError) as caught:
        parse(body)
    assert (caught.value.status, caught.value.code) == (400, "malformed_json")


def test_an_array_is_split_whatever_is_wrong_within_its_elements() -> None:
    body = b' [{"a": "]},{\\""}, {"b": NaN}, {"c": "\xff"}, {"d": [1, {"e": tru}]} ] '
    assert bodies.split(body) == [
        b'{"a": "]},{\\""}',
        b'{"b": NaN}',
        b'{"c": "\xff"}',
        b'{"d": [1, {"e": tru}]}',
    ]
    assert bodies.split(b"[]") == []
    assert bodies.split(b"[" * 50_000 + b"]" * 50_000) == [b"[" * 49_999 + b"]" * 49_999]


def test_a_body_that_would_hold_others_up_is_refused() -> None:
    for body in (b"[" * 2_000_000, b"[,{" * 700_000, b'["' + b'\\"' * 2_000_000):
        with pytest.raises(ProblemError):
            bodies.split(body)


@pytest.mark.parametrize("body", [b"[1, 2", b"{}", b"[1] x", b"]", b""])
def test_an_array_that_does_not_close_is_a_problem(body: bytes) -> None:
    with pytest.raises(ProblemError):
        bodies.split(body)
