"""Where a body ends, and what of the connection's bytes is it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twisted_wsgiflush._framing import CHUNK_OVERHEAD, ByLength, Chunked, Framing
from twisted_wsgiflush._rules import Refused

TRAILERS_SIZE = 200
NEXT = b"GET / HTTP/1.1\r\n\r\n"

Framed = Callable[[], Framing]


def chunked() -> Framing:
    return Chunked(TRAILERS_SIZE)


def by_length(length: int) -> Framed:
    return lambda: ByLength(length)


def received(framed: Framed, pieces: Iterable[bytes]) -> tuple[bytes, bytes, bool]:
    """The body, what is beyond it, and whether it has ended."""
    blocks: list[bytes] = []
    framing = framed()
    rest = b""
    for piece in pieces:
        if framing.ended:
            rest += piece
        else:
            rest = framing.receive(piece, blocks.append)
            assert framing.ended or not rest
    return b"".join(blocks), rest, framing.ended


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The data in pieces, none of them empty."""
    ends = sorted({min(place, len(data)) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)]


def in_bytes(data: bytes) -> list[bytes]:
    return cut(data, range(len(data)))


PLACES = st.lists(st.integers(0, 400), max_size=8)


# -- by length (RFC 9112, 6.2) --------------------------------------------------------


@given(st.binary(max_size=50), st.binary(max_size=50), PLACES)
def test_by_length_however_it_is_cut(
    body: bytes, rest: bytes, places: list[int]
) -> None:
    """A body of a length is so many bytes, and what comes then is not of it."""
    assert received(by_length(len(body)), cut(body + rest, places)) == (
        body,
        rest,
        True,
    )


def test_by_length_that_is_not_complete() -> None:
    """It has ended with its last byte, and not before."""
    assert received(by_length(6), [b"ab", b"cde"]) == (b"abcde", b"", False)


def test_no_bytes() -> None:
    """A body of no bytes has ended before any come."""
    assert received(by_length(0), [NEXT]) == (b"", NEXT, True)


def test_many_bytes() -> None:
    """A length may be more than any file has."""
    framing = ByLength(2**64 - 1)

    assert framing.receive(b"x" * 100000, lambda block: None) == b""
    assert not framing.ended


# -- chunked (RFC 9112, 7.1) ----------------------------------------------------------

TOKEN = st.text("azAZ09!#$%&'*+-.^_`|~", min_size=1, max_size=5)
QUOTED = st.text('az 09;,=\r\n\t\\"', max_size=5).map(
    lambda text: '"' + "".join(c for c in text if c not in '"\\\r\n') + '"'
)
EXTENSION = st.tuples(TOKEN, st.none() | TOKEN | QUOTED).map(
    lambda pair: f";{pair[0]}" if pair[1] is None else f";{pair[0]}={pair[1]}"
)
SIZE = st.sampled_from(["%x", "%X", "0%x", "000%X"])
TRAILER = st.tuples(TOKEN, st.text("az 09\t\xff", max_size=5)).map(
    lambda pair: f"x{pair[0]}: {pair[1]}\r\n"
)


@st.composite
def chunks(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A body, and the same in the chunked coding."""
    # What looks like the end is the hardest.
    block = st.binary(min_size=1, max_size=30) | st.sampled_from(
        [b"\r\n", b"\r\n\r\n", b"\r\n\r\n\r\n", b"0\r\n\r\n", b"\r", b"\n\r\n"]
    )
    blocks = draw(st.lists(block, max_size=5))
    coded = b""
    for block_of_it in [*blocks, b""]:
        extensions = "".join(draw(st.lists(EXTENSION, max_size=2)))
        size = draw(SIZE) % len(block_of_it)
        coded += f"{size}{extensions}\r\n".encode()
        if block_of_it:
            coded += block_of_it + b"\r\n"
    trailers = "".join(draw(st.lists(TRAILER, max_size=2)))
    return b"".join(blocks), coded + trailers.encode("latin-1") + b"\r\n"


@given(chunks(), st.binary(max_size=40) | st.just(NEXT), PLACES)
@example((b"\r\n", b"2\r\n\r\n\r\n0\r\n\r\n"), NEXT, [])
@example((b"\r\n", b"2\r\n\r\n\r\n0\r\n\r\n"), b"\r\n\r\n", [4, 6, 11])
def test_any_cut_of_any_chunks(
    both: tuple[bytes, bytes], rest: bytes, places: list[int]
) -> None:
    """However a chunked body is cut, it is what it is, and so is what comes then."""
    body, coded = both

    assert received(chunked, cut(coded + rest, places)) == (body, rest, True)


@given(chunks(), st.data())
def test_a_part_of_any_chunks(both: tuple[bytes, bytes], data: st.DataObject) -> None:
    """A body has not ended before its last byte has come."""
    body, coded = both
    part = coded[: data.draw(st.integers(0, len(coded) - 1))]

    got, rest, ended = received(chunked, [part])

    assert body.startswith(got)
    assert (rest, ended) == (b"", False)


PIECES = st.sampled_from(
    [
        *(b"\r\n", b"\r", b"\n", b"0", b"5", b"a", b";", b"=", b'"', b" ", b"\t", b":"),
        *(
            b"0\r\n\r\n",
            b"5\r\nhello\r\n",
            b"A: b\r\n",
            b"\0",
            b"\xff",
            b"-",
            b"f" * 17,
        ),
    ]
)


@given(st.lists(PIECES | st.binary(max_size=3), max_size=12), PLACES)
def test_any_bytes(pieces: list[bytes], places: list[int]) -> None:
    """Whatever comes is a body or is none, and how it is cut makes no difference."""
    data = b"".join(pieces)

    def outcome(cuts: list[bytes]) -> object:
        try:
            return received(chunked, cuts)
        except Refused as refused:
            return refused.code

    whole = outcome([data])

    assert outcome(cut(data, places)) == outcome(in_bytes(data)) == whole
    assert whole == 400 or isinstance(whole, tuple)


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b" 5\r\n",
        b"\t5\r\n",
        b"5 \r\n",
        b"5\t\r\n",
        b"-5\r\n",
        b"+5\r\n",
        b"0x5\r\n",
        b"5h\r\n",
        b"g\r\n",
        b"5\n",
        b"5\r",
        b"5\rhello",
        b"10000000000000000\r\n",
        b"ffffffffffffffffff\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\r0\r\n\r\n",
        b"5\r\nhello!\r\n0\r\n\r\n",
        b"5;\0\r\nhello\r\n",
        b"5;a\nb\r\nhello\r\n",
        b"5;a\rb\r\nhello\r\n",
        b'5;a="\r\n"\r\nhello\r\n',
        b"0\n\r\n",
        b"0\r\n\n",
        b"0\r\nA\r\n\r\n",
        b"0\r\nA : b\r\n\r\n",
        b"0\r\nA: b\r\n c\r\n\r\n",
        b"0\r\n A: b\r\n\r\n",
        b"0\r\nA: b\n\r\n",
        b"0\r\nA: b\rc\r\n\r\n",
        b"0\r\nA: \0\r\n\r\n",
        b"0\r\n: b\r\n\r\n",
    ],
)
def test_what_is_not_chunked(data: bytes) -> None:
    """A bare CR or LF, a size that is none, and fields that are none: 400."""
    for pieces in ([data + b"\r\n0\r\n\r\n"], in_bytes(data + b"\r\n0\r\n\r\n")):
        with pytest.raises(Refused) as refused:
            received(chunked, pieces)

        assert refused.value.code == 400
        assert refused.value.why.endswith(".")


@pytest.mark.parametrize(
    "trailer",
    [b"Content-Length: 5", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"],
)
def test_trailers_about_the_framing(trailer: bytes) -> None:
    """A trailer must say nothing of where the body ends (RFC 9110, 6.5.1)."""
    with pytest.raises(Refused) as refused:
        received(chunked, [b"0\r\n" + trailer + b"\r\n\r\n"])

    assert refused.value.code == 400


@pytest.mark.parametrize(
    "trailer", [b"Host: a", b"Connection: close", b"Connection: upgrade\r\nUpgrade: a"]
)
def test_other_trailers(trailer: bytes) -> None:
    """Other trailers are dropped, whatever they would mean in the head."""
    data = b"0\r\n" + trailer + b"\r\n\r\n" + NEXT

    assert received(chunked, [data]) == (b"", NEXT, True)


# -- bounds ---------------------------------------------------------------------------


def test_long_trailers() -> None:
    """Of trailers, which are dropped, so many bytes are taken."""
    size = TRAILERS_SIZE + CHUNK_OVERHEAD - len(b"0\r\n" + b"A: " + b"\r\n\r\n")
    assert received(chunked, [b"0\r\nA: ", b"x" * size, b"\r\n\r\n"])[2]

    with pytest.raises(Refused) as refused:
        received(chunked, [b"0\r\nA: ", b"x" * (size + 1), b"\r\n\r\n"])

    assert refused.value.code == 400


def test_long_extensions() -> None:
    """A chunk of a byte, again and again, must not cost more than so many of them."""
    chunk = b"1;" + b"e" * (CHUNK_OVERHEAD - 6) + b"\r\nx\r\n"
    assert received(chunked, [chunk] * 1000) == (b"x" * 1000, b"", False)

    longer = chunk.replace(b"e", b"ee", 2)
    with pytest.raises(Refused) as refused:
        received(chunked, [longer] * 1000)

    assert refused.value.code == 400


def test_a_line_that_does_not_end() -> None:
    """Not of an extension either, in which nothing would ever be told."""
    with pytest.raises(Refused):
        received(chunked, [b"1;"] + [b"e"] * (TRAILERS_SIZE + CHUNK_OVERHEAD + 1))


@pytest.mark.parametrize("framed", [chunked, by_length(3)], ids=["chunked", "length"])
def test_what_the_receiver_raises(framed: Framed) -> None:
    """It comes out as it is: as a refusal, or as a disk that is full."""

    def full(block: bytes) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        framed().receive(b"3\r\nabc\r\n", full)


def test_what_the_receiver_raises_after_an_error() -> None:
    """It comes out also where somebody handles the error of an application."""

    def full(block: bytes) -> None:
        raise OSError(28, "No space left on device")

    try:
        raise LookupError
    except LookupError:
        with pytest.raises(OSError, match="No space left"):
            chunked().receive(b"3\r\nabc\r\n", full)
