"""Whether the client's copy is fresh, and what a 304 carries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twisted_wsgiflush._validation import Conditions, conditions_of, not_modified

SUNDAY = "Sun, 06 Nov 1994 08:49:37 GMT"
BEFORE = "Sun, 06 Nov 1994 08:49:36 GMT"
AFTER = "Sun, 06 Nov 1994 08:49:38 GMT"


def asked(method: str = "GET", **conditions: str) -> Conditions | None:
    fields = {f"HTTP_{name.upper()}": value for name, value in conditions.items()}
    return conditions_of({"REQUEST_METHOD": method, **fields})


def is_fresh(
    headers: list[tuple[str, str]],
    status: str = "200 OK",
    method: str = "GET",
    **conditions: str,
) -> bool:
    return not_modified(status, headers, asked(method, **conditions)) is not None


# --- If-None-Match: RFC 9110, 13.1.2


@pytest.mark.parametrize(
    ("if_none_match", "etag"),
    [
        ('"v1"', '"v1"'),
        ('W/"v1"', '"v1"'),
        ('"v1"', 'W/"v1"'),
        ('W/"v1"', 'W/"v1"'),
        ('"v0", "v1"', '"v1"'),
        ('"v0","v1"', '"v1"'),
        ('"v1" , W/"v2"', '"v1"'),
        ('W/"v0" ,\tW/"v1"', '"v1"'),
        (', ,"v0",,"v1", ,', '"v1"'),
        ('"a,b"', '"a,b"'),
        ('"a", "b,"', '"b,"'),
        ('""', '""'),
        ('"W/"', '"W/"'),
        ('"\xe9\x80"', '"\xe9\x80"'),
        ("*", '"v1"'),
        (" *\t", '"v1"'),
        ('"v1"', ' "v1"\t'),
    ],
)
def test_a_tag_in_the_list_is_fresh(if_none_match: str, etag: str) -> None:
    """By the weak comparison, and with every list that RFC 9110, 5.6.1 allows."""
    assert is_fresh([("ETag", etag)], if_none_match=if_none_match)


@pytest.mark.parametrize(
    ("if_none_match", "etag"),
    [
        ('"v0"', '"v1"'),
        ('"V1"', '"v1"'),
        ('w/"v1"', '"v1"'),
        ('"v1', '"v1"'),
        ('v1"', '"v1"'),
        ("v1", "v1"),
        ("v1", '"v1"'),
        ('"v1"x', '"v1"'),
        ('"v1" "v2"', '"v1"'),
        ('"v1"; "v2"', '"v1"'),
        ('*, "v1"', '"v1"'),
        ('"v1", *', '"v1"'),
        ('"v 1"', '"v 1"'),
        ('"W/"', 'W/""'),
        ('W/"v1"', '"W/v1"'),
        ('"a,b"', '"b"'),
        ("", '"v1"'),
        (",", '"v1"'),
        ("**", '"v1"'),
    ],
)
def test_no_tag_in_the_list_is_not_fresh(if_none_match: str, etag: str) -> None:
    """Nor is what is no list of tags: the client gets the whole response."""
    assert not is_fresh([("ETag", etag)], if_none_match=if_none_match)


def test_any_representation_is_what_a_star_asks_for() -> None:
    """``*`` is fulfilled without an ETag, too."""
    assert is_fresh([("Last-Modified", SUNDAY)], if_none_match="*")


def test_no_tag_matches_where_there_is_none() -> None:
    """A response without an ETag is not that of any tag."""
    assert not is_fresh([("Last-Modified", SUNDAY)], if_none_match='"v1"')


def test_many_separators_are_no_work() -> None:
    """A list that is none is recognized in time that grows with its length only."""
    endless = '"v0"' + ", " * 20000 + "x"

    assert not is_fresh([("ETag", '"v1"')], if_none_match=endless)


# --- If-Modified-Since: RFC 9110, 13.1.3


@pytest.mark.parametrize(
    ("since", "fresh"), [(BEFORE, False), (SUNDAY, True), (AFTER, True)]
)
def test_what_was_not_modified_since_is_fresh(since: str, fresh: bool) -> None:
    """That is, modified then or before."""
    headers = [("Last-Modified", SUNDAY)]

    assert is_fresh(headers, if_modified_since=since) is fresh


@pytest.mark.parametrize(
    "date",
    ["Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", SUNDAY],
)
@pytest.mark.parametrize("modified", [BEFORE, SUNDAY, AFTER])
def test_obsolete_forms_of_a_date_are_understood(date: str, modified: str) -> None:
    """RFC 9110, 5.6.7: a recipient must accept all three, and takes them for GMT."""
    fresh = is_fresh([("Last-Modified", modified)], if_modified_since=date)

    assert fresh is (modified != AFTER)


@pytest.mark.parametrize(
    "no_date",
    [
        "",
        "yesterday",
        "0",
        "784111777",
        "1994-11-06T08:49:37Z",
        "Sun, 06 Nov 2094 08:49:37",
        "Sun, 06 Nov 2094 08:49:37 UTC",
        "Sun, 06 Nov 2094 08:49:37 +0000",
        "Sun, 06 Nov 2094 08:49:37 +99999999999999999999",
        "Sun, 06 Nov 2094 08:49 GMT",
        "Sun, 06 Nov 20944 08:49:37 GMT",
        "Sun, 32 Nov 2094 08:49:37 GMT",
        "Sun, 06 Nov 2094 25:49:37 GMT",
        "Sun, 00 Nov 2094 08:49:37 GMT",
        "Sun, 06 Now 2094 08:49:37 GMT",
        "So, 06 Nov 2094 08:49:37 GMT",
        "Sun 06 Nov 2094 08:49:37 GMT",
        "06 Nov 2094 08:49:37 GMT",
        "Sun, 6 Nov 2094 08:49:37 GMT",
        "Sun, 06 Nov 2094 08:49:37 GMT; length=3",
        f"{AFTER}, {AFTER}",
        f"{AFTER},{AFTER}",
    ],
)
def test_what_is_no_date_is_ignored(no_date: str) -> None:
    """RFC 9110, 13.1.3: "if the received field value is not a valid HTTP-date"."""
    assert not is_fresh([("Last-Modified", SUNDAY)], if_modified_since=no_date)


def test_an_application_whose_date_is_none_sends_its_response() -> None:
    """Nobody can tell whether it is later than the client's."""
    assert not is_fresh([("Last-Modified", "today")], if_modified_since=SUNDAY)


def test_a_date_tells_nothing_of_a_tag() -> None:
    """A response without Last-Modified may have been modified at any time."""
    assert not is_fresh([("ETag", '"v1"')], if_modified_since=AFTER)


@given(
    st.text(st.characters(max_codepoint=255)), st.text(st.characters(max_codepoint=255))
)
def test_no_header_of_a_client_is_an_error(tags: str, date: str) -> None:
    """Whatever it sends, the application's response is given."""
    headers = [("ETag", '"v1"'), ("Last-Modified", SUNDAY)]

    not_modified("200 OK", headers, asked(if_none_match=tags))
    not_modified("200 OK", headers, asked(if_modified_since=date))


DIGITS = st.integers(0, 99).map("{:02}".format)


@given(
    st.sampled_from(["Sun", "Mon"]),
    DIGITS,
    st.sampled_from(["Feb", "Nov"]),
    st.integers(0, 9999).map("{:04}".format),
    st.tuples(DIGITS, DIGITS, DIGITS).map(":".join),
)
def test_no_date_of_a_client_is_an_error(day, number, month, year, time) -> None:
    """Not those either that have the form of a date, and are none."""
    for date in (
        f"{day}, {number} {month} {year} {time} GMT",
        f"{day}day, {number}-{month}-{year[2:]} {time} GMT",
        f"{day} {month} {number} {time} {year}",
    ):
        is_fresh([("Last-Modified", SUNDAY)], if_modified_since=date)


# --- both, and when neither is asked: RFC 9110, 13.2.1 and 13.2.2

BOTH = [("ETag", '"v1"'), ("Last-Modified", SUNDAY)]


@pytest.mark.parametrize(
    ("if_none_match", "if_modified_since", "fresh"),
    [
        ('"v1"', BEFORE, True),
        ('"v1"', AFTER, True),
        ('"v0"', BEFORE, False),
        ('"v0"', AFTER, False),
        ("v0", AFTER, False),
        ("", AFTER, False),
    ],
)
def test_a_date_is_ignored_beside_a_tag(if_none_match, if_modified_since, fresh):
    """If-Modified-Since is for recipients that know no ETag."""
    conditions = {
        "if_none_match": if_none_match,
        "if_modified_since": if_modified_since,
    }

    assert is_fresh(BOTH, **conditions) is fresh


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_get_and_head_are_validated(method: str) -> None:
    """By tag, and by date."""
    assert is_fresh(BOTH, method=method, if_none_match='"v1"')
    assert is_fresh(BOTH, method=method, if_modified_since=SUNDAY)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "get"])
@pytest.mark.parametrize("tag", ['"v1"', "*"])
def test_other_methods_are_not(method: str, tag: str) -> None:
    """They do something, and that is done by now."""
    assert not is_fresh(BOTH, method=method, if_none_match=tag)
    assert not is_fresh(BOTH, method=method, if_modified_since=AFTER)


@pytest.mark.parametrize(
    "status",
    ["201 Created", "204 No Content", "206 Partial Content", "304 Not Modified",
     "404 Not Found", "412 Precondition Failed", "500 Internal Server Error"],
)  # fmt: skip
def test_other_statuses_are_not(status: str) -> None:
    """RFC 9110, 13.2.1: what would not be 200 without the condition."""
    assert not is_fresh(BOTH, status=status, if_none_match='"v1"')


@pytest.mark.parametrize("status", ["200 OK", "200 ", "200 Fine, thanks"])
def test_the_reason_does_not_matter(status: str) -> None:
    """A status is its three digits."""
    assert is_fresh(BOTH, status=status, if_none_match='"v1"')


def test_a_response_without_a_validator_is_not() -> None:
    """Not even for ``*``: the application has not asked for it."""
    headers = [("Content-Type", "text/plain"), ("Cache-Control", "max-age=60")]

    assert not is_fresh(headers, if_none_match="*")
    assert not is_fresh(headers, if_modified_since=AFTER)


def test_a_request_without_a_condition_is_not() -> None:
    """It has no copy."""
    assert not is_fresh(BOTH)


@pytest.mark.parametrize("name", ["ETag", "etag", "ETAG"])
def test_the_names_of_headers_are_of_any_case(name: str) -> None:
    """RFC 9110, 5.1."""
    assert is_fresh([(name, '"v1"')], if_none_match='"v1"')


# --- the 304: RFC 9110, 15.4.5


def headers_of_304(*headers: tuple[str, str]) -> list[tuple[str, str]] | None:
    return not_modified("200 OK", list(headers), asked(if_none_match="*"))


def test_a_304_carries_what_a_cache_is_to_update() -> None:
    """The fields that RFC 9110, 15.4.5 names, as they are and in their order."""
    kept = [
        ("Cache-Control", "max-age=60"),
        ("Content-Location", "/page"),
        ("Date", SUNDAY),
        ("ETag", 'W/"v1"'),
        ("Expires", AFTER),
        ("Vary", "Accept"),
        ("vary", "Cookie"),
    ]

    assert headers_of_304(*kept) == kept


def test_a_304_carries_what_is_no_metadata() -> None:
    """A cookie, for one, belongs to the message and not to the representation."""
    kept = [
        ("ETag", '"v1"'),
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
        ("X-A", "b"),
    ]

    assert headers_of_304(*kept) == kept


@pytest.mark.parametrize(
    "name",
    ["Content-Type", "Content-Length", "Content-Encoding", "Content-Language",
     "Content-Range", "Accept-Ranges", "content-type"],
)  # fmt: skip
def test_a_304_is_without_other_metadata(name: str) -> None:
    """The client has it with its copy."""
    assert headers_of_304(("ETag", '"v1"'), (name, "5")) == [("ETag", '"v1"')]


def test_a_304_has_a_date_of_modification_only_without_a_tag() -> None:
    """It "might be useful if the response does not have an ETag field"."""
    date = ("Last-Modified", SUNDAY)

    assert headers_of_304(("ETag", '"v1"'), date) == [("ETag", '"v1"')]
    assert headers_of_304(date) == [date]
