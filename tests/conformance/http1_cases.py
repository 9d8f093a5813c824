"""Raw HTTP/1.1 requests and what RFC 9110 and RFC 9112 make of them.

In the bytes, ~P is the case's own path and ~Q the path of a request that nobody made (see http1.judge).
Where a recipient may repair or refuse, the case takes both, and the origin's strict reader sees to it
that nothing ambiguous was passed on.
"""

from dataclasses import dataclass

from http1 import Expected, either, refused, served

HOST = b"Host: localhost\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


@dataclass(frozen=True)
class Case:
    section: str
    name: str
    pieces: tuple
    expected: object
    methods: tuple = ()

    def __str__(self):
        return f"{self.section} {self.name}"


def get(headers=b"", host=HOST, line=b"GET ~P HTTP/1.1\r\n"):
    return line + host + headers + b"\r\n"


def post(headers, body=b"", version=b"HTTP/1.1"):
    return b"POST ~P " + version + b"\r\n" + HOST + headers + b"\r\n" + body


def chunked(body, headers=b""):
    return post(headers + CHUNKED, body)


def table(*rows):
    for section, name, sent, expected, *methods in rows:
        yield Case(section, name, sent if isinstance(sent, tuple) else (sent,), expected, tuple(methods))


HIDDEN = b"GET ~Q HTTP/1.1\r\nHost: localhost\r\n\r\n"
FIVE = b"Content-Length: 5\r\n"
END = b"0\r\n\r\n"
# A body that is whole for who reads chunks, with a request behind it for who reads 5 bytes.
CHUNKS_THEN_HIDDEN = END + HIDDEN


def first_lines():
    return table(
        ("9112-3", "a plain GET", get(), served()),
        ("9112-3", "two requests in one piece", get() + get(), served(2)),
        ("9112-3", "a request byte by byte", tuple(get()[n : n + 8] for n in range(0, len(get()), 8)), served()),
        ("9112-2.2", "an empty line before the request", b"\r\n" + get(), either(count=1)),
        ("9112-2.2", "a blank before the method", b" " + get(), either()),
        ("9112-3", "two spaces behind the method", get(line=b"GET  ~P HTTP/1.1\r\n"), either()),
        ("9112-3", "two spaces before the version", get(line=b"GET ~P  HTTP/1.1\r\n"), either()),
        ("9112-3", "a space behind the version", get(line=b"GET ~P HTTP/1.1 \r\n"), either()),
        ("9112-3", "a tab in place of the spaces", get(line=b"GET\t~P\tHTTP/1.1\r\n"), either()),
        ("9112-3", "a space in the path", get(line=b"GET ~P x HTTP/1.1\r\n"), refused()),
        ("9112-3", "a tab in the path", get(line=b"GET ~P\tx HTTP/1.1\r\n"), refused()),
        ("9112-3", "NUL in the path", get(line=b"GET ~P\0 HTTP/1.1\r\n"), refused()),
        ("9112-3", "DEL in the path", get(line=b"GET ~P\x7f HTTP/1.1\r\n"), refused()),
        ("9112-3", "a fragment in the path", get(line=b"GET ~P#x HTTP/1.1\r\n"), refused()),
        ("9112-3", "a path without slash", get(line=b"GET x~P HTTP/1.1\r\n"), refused()),
        ("9112-3.2", "an empty target", get(line=b"GET  HTTP/1.1\r\n"), refused()),
        ("9112-3", "a method with a bracket", get(line=b"G{T ~P HTTP/1.1\r\n"), refused(400, 405, 501)),
        ("9112-3", "a method with a colon", get(line=b"G:T ~P HTTP/1.1\r\n"), refused(400, 405, 501)),
        ("9110-9.1", "a method in lower case is another method", get(line=b"get ~P HTTP/1.1\r\n"), either(400, 405, 501)),
        ("9112-2.3", "no version (HTTP/0.9)", b"GET ~P\r\n\r\n", refused(400, 505, silent=True)),
        ("9112-2.3", "no version with headers", b"GET ~P\r\nHost: localhost\r\n\r\n", refused(400, 505, silent=True)),
        ("9112-2.3", "version HTTP/2.0", get(line=b"GET ~P HTTP/2.0\r\n"), refused(400, 505)),
        ("9112-2.3", "version HTTP/3", get(line=b"GET ~P HTTP/3\r\n"), refused(400, 505)),
        ("9112-2.3", "version HTTP/0.9", get(line=b"GET ~P HTTP/0.9\r\n"), refused(400, 505)),
        ("9112-2.3", "version HTTP/1.10", get(line=b"GET ~P HTTP/1.10\r\n"), refused(400, 505)),
        ("9112-2.3", "version HTTP/1.", get(line=b"GET ~P HTTP/1.\r\n"), refused(400, 505)),
        ("9112-2.3", "version HTTP/11", get(line=b"GET ~P HTTP/11\r\n"), refused(400, 505)),
        ("9112-2.3", "version HTTP/+1.1", get(line=b"GET ~P HTTP/+1.1\r\n"), refused(400, 505)),
        ("9112-2.3", "version http/1.1", get(line=b"GET ~P http/1.1\r\n"), refused(400, 505)),
        ("9112-2.3", "version HTTPS/1.1", get(line=b"GET ~P HTTPS/1.1\r\n"), refused(400, 505)),
        ("9112-2.3", "version HTTP/1.2", get(line=b"GET ~P HTTP/1.2\r\n"), either(400, 505)),
        ("9112-2.3", "HTTP/1.0 without Host, and closes", get(host=b"", line=b"GET ~P HTTP/1.0\r\n"), either(closes=True)),
        ("9112-9.3", "HTTP/1.0 closes", get(line=b"GET ~P HTTP/1.0\r\n"), either(closes=True)),
        ("9112-9.6", "Connection: close closes", get(b"Connection: close\r\n"), either(closes=True)),
        ("9112-9.6", "what follows close is not served", get(b"Connection: close\r\n") + HIDDEN, either(closes=True)),
        ("9113-3.4", "a broken preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n" + HIDDEN, Expected((400, 505), silent=True, may_switch=True)),
        ("9113-3.4", "HTTP/2 does not begin behind a request", get() + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", either(400, 505)),
        ("9113-3.4", "HTTP/2 does not begin behind an empty line", b"\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0", refused(400, 505)),
        ("9110-9.3.2", "HEAD has no body", get(line=b"HEAD ~P HTTP/1.1\r\n") + get(), served(2), "HEAD"),
        ("9110-9.3.7", "OPTIONS *", get(line=b"OPTIONS * HTTP/1.1\r\n", headers=b"Connection: close\r\n"), Expected((400, 404, 405, 501), 1, either=True, is_seen=False)),
        ("9112-3.2.4", "GET *", get(line=b"GET * HTTP/1.1\r\n"), refused()),
        ("9112-3.2.3", "CONNECT", get(line=b"CONNECT localhost:80 HTTP/1.1\r\n"), refused(400, 405, 501)),
        ("9112-3.2.3", "CONNECT with a path", get(line=b"CONNECT ~P HTTP/1.1\r\n"), refused(400, 405, 501)),
        ("9110-9.3.8", "TRACE is not reflected", get(line=b"TRACE ~P HTTP/1.1\r\n", headers=b"Cookie: secret\r\n"), either(400, 403, 405, 501)),
        ("9112-3", "a path of 200,000 bytes", get(line=b"GET ~P" + b"a" * 200_000 + b" HTTP/1.1\r\n"), refused(400, 414, 431)),
        ("9112-3", "a method of 100,000 bytes", get(line=b"A" * 100_000 + b" ~P HTTP/1.1\r\n"), refused(400, 414, 431, 501)),
        ("9112-3", "high bytes in the path", get(line=b"GET ~P\xc3\xa4 HTTP/1.1\r\n"), either()),
        ("9112-3", "binary that is no HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64 + b"\r\n\r\n", refused(400, silent=True)),
    )


def hosts():
    return table(
        ("9112-3.2", "no Host", get(host=b""), refused()),
        ("9112-3.2", "two Hosts", get(host=HOST * 2), refused()),
        ("9112-3.2", "two different Hosts", get(host=HOST + b"Host: other\r\n"), refused()),
        ("9112-3.2", "an empty Host", get(host=b"Host:\r\n"), either(count=1)),
        ("9112-3.2", "a Host with a space", get(host=b"Host: local host\r\n"), refused()),
        ("9112-3.2", "a Host with a slash", get(host=b"Host: localhost/x\r\n"), refused()),
        ("9112-3.2", "a Host with user information", get(host=b"Host: a\x40localhost\r\n"), refused()),
        ("9112-3.2", "a Host with a comma", get(host=b"Host: localhost, other\r\n"), refused()),
        ("9112-3.2", "a Host with NUL", get(host=b"Host: local\0host\r\n"), refused()),
        ("9112-3.2", "a Host with a bad port", get(host=b"Host: localhost:8a\r\n"), refused()),
        ("9112-3.2", "a Host with an open bracket", get(host=b"Host: [::1\r\n"), refused()),
        ("9112-3.2", "a Host with a port", get(host=b"Host: localhost:80\r\n"), served()),
        ("9112-3.2", "a Host with an IPv6 address", get(host=b"Host: [::1]:80\r\n"), served()),
        ("9112-3.2", "a Host with a fragment", get(host=b"Host: localhost#x\r\n"), refused()),
        ("9112-3.2", "a Host with a query", get(host=b"Host: localhost?x\r\n"), refused()),
        ("9112-3.2.2", "absolute-form", get(line=b"GET http://localhost~P HTTP/1.1\r\n"), served()),
        ("9112-3.2.2", "absolute-form, another Host", get(line=b"GET http://localhost~P HTTP/1.1\r\n", host=b"Host: other\r\n"), either()),
        ("9112-3.2.2", "absolute-form without host", get(line=b"GET http://~P HTTP/1.1\r\n"), refused()),
        ("9112-3.2.2", "absolute-form of another scheme", get(line=b"GET ftp://localhost~P HTTP/1.1\r\n"), either(400, 421)),
        ("9112-3.2.2", "absolute-form and no Host", get(line=b"GET http://localhost~P HTTP/1.1\r\n", host=b""), refused()),
        ("9110-4.2.4", "absolute-form with user information", get(line=b"GET http://u:p\x40localhost~P HTTP/1.1\r\n"), refused()),
    )


def headers():
    return table(
        ("9112-5.1", "a space before the colon", get(b"X-A : b\r\n"), refused()),
        ("9112-5.1", "a tab before the colon", get(b"X-A\t: b\r\n"), refused()),
        ("9112-5.1", "a space before the colon of Content-Length", post(b"Content-Length : 5\r\n", b"hello"), refused()),
        ("9112-5.1", "a space before the colon of Transfer-Encoding", post(b"Transfer-Encoding : chunked\r\n" + FIVE, CHUNKS_THEN_HIDDEN), refused()),
        ("9112-5.1", "a header without a colon", get(b"X-A\r\n"), refused()),
        ("9112-5.1", "a header without a name", get(b": b\r\n"), refused()),
        ("9112-5.1", "a name with a space", get(b"X A: b\r\n"), refused()),
        ("9112-5.1", "a name with a bracket", get(b"X(A): b\r\n"), refused()),
        ("9112-5.1", "a name with a high byte", get(b"X\xe4: b\r\n"), refused()),
        ("9112-5.1", "a name with NUL", get(b"X\0A: b\r\n"), refused()),
        ("9112-5.2", "obs-fold with a space", get(b"X-A: b\r\n c\r\n"), either()),
        ("9112-5.2", "obs-fold with a tab", get(b"X-A: b\r\n\tc\r\n"), either()),
        ("9112-5.2", "obs-fold of Transfer-Encoding", post(b"Transfer-Encoding:\r\n chunked\r\n", END), either(400, 501, body=b"")),
        ("9112-5.2", "obs-fold of Content-Length", post(b"Content-Length:\r\n 5\r\n", b"hello"), either(body=b"hello")),
        ("9112-5.2", "a blank line's place taken by a space", get(b" \r\n"), refused()),
        ("9112-2.2", "a blank before the first header", get(host=b" Host: localhost\r\n"), refused()),
        ("9110-5.5", "NUL in a value", get(b"X-A: b\0c\r\n"), either()),
        ("9110-5.5", "a control byte in a value", get(b"X-A: b\x01c\r\n"), either()),
        ("9110-5.5", "DEL in a value", get(b"X-A: b\x7fc\r\n"), either()),
        ("9112-2.2", "bare CR in a value", get(b"X-A: b\rX-B: c\r\n"), either()),
        ("9112-2.2", "bare CR then a smuggling header", post(b"X-A: b\rTransfer-Encoding: chunked\r\n" + FIVE, b"hello"), either(body=b"hello")),
        ("9112-2.2", "bare LF between headers", get(b"X-A: b\nX-B: c\r\n"), either()),
        ("9112-2.2", "bare LF everywhere", get().replace(b"\r\n", b"\n"), either()),
        ("9112-2.2", "bare LF ends the head", b"GET ~P HTTP/1.1\r\nHost: localhost\r\n\n", either()),
        ("9112-2.2", "LF CR ends the head", b"GET ~P HTTP/1.1\r\nHost: localhost\r\n\n\r", either()),
        ("9112-2.2", "CR CR LF behind a header", get(b"X-A: b\r\r\n"), either()),
        ("9110-5.5", "high bytes in a value", get(b"X-A: \xe4\xf6\r\n"), served()),
        ("9110-5.5", "an empty value", get(b"X-A:\r\n"), served()),
        ("9110-5.5", "blanks around a value", get(b"X-A: \t b \t\r\n"), served()),
        ("9110-5.1", "names in other cases", get(b"x-A: b\r\nCONNECTION: CLOSE\r\n"), either(closes=True)),
        ("6585-5", "a header of 500,000 bytes", get(b"X-A: " + b"a" * 500_000 + b"\r\n"), refused(400, 431, 494)),
        ("6585-5", "5,000 headers", get(b"X-A: b\r\n" * 5000), refused(400, 431, 494)),
        ("9110-10.1.1", "Expect of something unknown", get(b"Expect: tea\r\n"), either(417, 400)),
        ("9110-10.1.1", "Expect: 100-continue", (post(b"Expect: 100-continue\r\n" + FIVE), b"hello"), served(body=b"hello")),
        ("9110-7.6.1", "Connection names Host", get(b"Connection: Host\r\n"), either()),
        ("9110-7.6.1", "Connection names Content-Length", post(b"Connection: Content-Length\r\n" + FIVE, b"hello") , either(body=b"hello")),
        ("9110-7.6.1", "Connection names Transfer-Encoding", chunked(b"5\r\nhello\r\n" + END, b"Connection: transfer-encoding\r\n"), either(body=b"hello")),
        ("9110-7.8", "Upgrade to h2c goes on as HTTP/1.1", get(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"), served()),
        ("9110-7.8", "h2c upgrade does not smuggle", get(b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n") + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + HIDDEN, either(400, 505, count=1)),
    )


def lengths():
    def with_length(value, body=b"hello"):
        return post(b"Content-Length: " + value + b"\r\n", body)

    bad = [b"-5", b"+5", b"0x5", b"5.0", b"5 5", b"5,6", b"five", b"", b"5;", b"\xb5", b"5\x0b", b'"5"', b"5_0", b"1e1"]
    bad += [b"99999999999999999999", b"18446744073709551621", b"-0"]
    return table(
        ("9112-6.2", "a body with its length", with_length(b"5"), served(body=b"hello")),
        ("9112-6.2", "a length with leading zeros", with_length(b"005"), either(body=b"hello")),
        ("9112-6.2", "a length of 0", with_length(b"0", b""), served(body=b"")),
        ("9112-6.2", "a GET with a body, then another request", get(FIVE) + b"hello" + get(), served(2)),
        *(("9112-6.3", f"Content-Length {value.decode('latin-1')!r}", with_length(value), refused(400, 413)) for value in bad),
        ("9112-6.3", "two different lengths", post(FIVE + b"Content-Length: 6\r\n", b"hello!"), refused()),
        ("9112-6.3", "two equal lengths", post(FIVE * 2, b"hello"), either(body=b"hello")),
        ("9112-6.3", "two equal lengths in a list", with_length(b"5, 5"), either(body=b"hello")),
        ("9112-6.3", "a body that ends early", (post(b"Content-Length: 10\r\n", b"hello"), None), refused(400, 408, silent=True)),
    )


def smuggling():
    def te(value, body=CHUNKS_THEN_HIDDEN, more=b""):
        return post(b"Transfer-Encoding:" + value + b"\r\n" + more, body)

    odd = [b"xchunked", b"chunked, identity", b"identity", b"chunked;a=b", b"chunked, chunked", b"gzip", b'"chunked"']
    odd += [b"chunked\x0b", b"\x0bchunked", b"\x00chunked", b"chunke", b"chu nked", b"chunked\x00", b"", b"chunked gzip", b"\xffchunked"]
    with_length = b"Content-Length: %d\r\n" % len(CHUNKS_THEN_HIDDEN)
    return table(
        ("9112-6.1", "CL.TE", post(b"Content-Length: 5\r\n" + CHUNKED, END), either(closes=True, body=b"")),
        ("9112-6.1", "CL.TE, a request behind the chunks", post(with_length + CHUNKED, CHUNKS_THEN_HIDDEN), either(closes=True, body=b"")),
        ("9112-6.1", "TE.CL", post(CHUNKED + b"Content-Length: 3\r\n", b"5\r\nhello\r\n" + END + HIDDEN), either(closes=True, body=b"hello")),
        ("9112-6.1", "CL 0 with TE", post(b"Content-Length: 0\r\n" + CHUNKED, END), either(closes=True, body=b"")),
        *(("9112-6.1", f"Transfer-Encoding {value.decode('latin-1')!r}", te(b" " + value), refused(400, 501)) for value in odd),
        *(("9112-6.1", f"Transfer-Encoding {value.decode('latin-1')!r} with a length", te(b" " + value, more=with_length), refused(400, 501)) for value in odd),
        ("9112-6.1", "gzip, chunked", te(b" gzip, chunked"), refused(400, 501)),
        ("9112-6.1", "Transfer-Encoding twice, chunked", te(b" chunked", END, CHUNKED), either(400, 501, body=b"")),
        ("9112-6.1", "Transfer-Encoding twice, one unknown", te(b" chunked", CHUNKS_THEN_HIDDEN, b"Transfer-Encoding: x\r\n"), refused(400, 501)),
        ("9112-6.1", "Transfer-Encoding twice, unknown first", te(b" x", CHUNKS_THEN_HIDDEN, CHUNKED), refused(400, 501)),
        ("9112-6.1", "chunked in another case", te(b" ChUnKeD", END), served(body=b"")),
        ("9112-6.1", "chunked behind a tab", te(b"\tchunked", END), served(body=b"")),
        ("9112-6.1", "chunked without a blank", te(b"chunked", END), served(body=b"")),
        ("9112-6.1", "Transfer-Encoding in a folded line", post(b"X-A: b\r\n Transfer-Encoding: chunked\r\n" + FIVE, b"hello"), either(body=b"hello")),
        ("9112-6.1", "Transfer-Encoding behind a bare LF", post(b"X-A: b\nTransfer-Encoding: chunked\r\n" + with_length, CHUNKS_THEN_HIDDEN), either()),
        ("9112-6.1", "Transfer-Encoding with an underscore", post(b"Transfer_Encoding: chunked\r\n" + FIVE, b"hello"), either(body=b"hello")),
        ("9112-6.1", "Content_Length with an underscore", post(b"Content_Length: 50\r\n" + FIVE, b"hello"), either(body=b"hello")),
        ("9112-6.1", "chunks in HTTP/1.0", post(CHUNKED, CHUNKS_THEN_HIDDEN, b"HTTP/1.0"), either(400, 501, closes=True)),
        ("9112-6.1", "chunks in HTTP/1.0 with a length", post(CHUNKED + with_length, CHUNKS_THEN_HIDDEN, b"HTTP/1.0"), either(400, 501, closes=True)),
        ("9112-6.3", "a body without length is the next request", post(b"", b"") + get(), served(2)),
    )


def bodies():
    hello = b"5\r\nhello\r\n"
    bad = {
        "an empty chunk size": b"\r\nhello\r\n" + END,
        "a chunk size with 0x": b"0x5\r\nhello\r\n" + END,
        "a chunk size with a sign": b"+5\r\nhello\r\n" + END,
        "a negative chunk size": b"-5\r\nhello\r\n" + END,
        "a chunk size of letters": b"zz\r\nhello\r\n" + END,
        "a chunk size with a leading blank": b" 5\r\nhello\r\n" + END,
        "a chunk size with an underscore": b"0_5\r\nhello\r\n" + END,
        "a chunk size beyond 64 bits": b"10000000000000005\r\nhello\r\n" + END,
        "a chunk size that wraps 32 bits": b"100000000000000000000005\r\nhello\r\n" + END,
        "a chunk shorter than its size": b"6\r\nhello\r\n" + END,
        "a chunk longer than its size": b"4\r\nhello\r\n" + END,
        "a chunk without CRLF behind it": b"5\r\nhello" + END,
        "NUL in a chunk size": b"5\0\r\nhello\r\n" + END,
        "a comma in a chunk size": b"5,5\r\nhello\r\n" + END,
        "NUL in a chunk extension": b"5;a=\0\r\nhello\r\n" + END,
        "bare CR behind a chunk size": b"5\rhello\r\n" + END,
        "bare CR in a chunk extension": b"5;a\rb\r\nhello\r\n" + END,
    }
    # RFC 9112, section 2.2, lets LF end a line of a head, but section 7.1 has no such word for chunks.
    lenient = {
        "bare LF behind a chunk size": b"5\nhello\r\n" + END,
        "bare LF behind a chunk": b"5\r\nhello\n" + END,
        "bare LF in a chunk extension": b"5;a\nhello\r\n" + END,
        "bare LF behind the last chunk": hello + b"0\n\r\n",
        "bare LF ends the trailers": hello + b"0\r\n\n",
    }
    # Odd, but not wrong in a way that is dangerous.
    odd = {
        "a blank behind a chunk size": b"5 \r\nhello\r\n" + END,
        "an endless chunk extension": b"5;" + b"a" * 100_000 + b"\r\nhello\r\n" + END,
        "an endless chunk size of zeros": b"0" * 100_000 + b"5\r\nhello\r\n" + END,
    }
    trailers = {
        "a trailer": b"X-T: v\r\n",
        "Content-Length as a trailer": b"Content-Length: 50\r\n",
        "Transfer-Encoding as a trailer": b"Transfer-Encoding: chunked\r\n",
        "Host as a trailer": b"Host: other\r\n",
    }
    # Behind a broken chunk stands a request: who reads on out of step would serve it.
    return table(
        ("9112-7.1", "a chunked body", chunked(hello + END), served(body=b"hello")),
        ("9112-7.1", "a chunked body in pieces", (chunked(b"5\r\nhe"), b"llo\r", b"\n0\r\n", b"\r\n"), served(body=b"hello")),
        ("9112-7.1", "chunk sizes with zeros and capitals", chunked(b"00A\r\n0123456789\r\n" + b"000\r\n\r\n"), served(body=b"0123456789")),
        ("9112-7.1", "a chunked body, then another request", chunked(hello + END) + get(), served(2)),
        ("9112-7.1.1", "a chunk extension", chunked(b"5;a=b\r\nhello\r\n" + END), served(body=b"hello")),
        ("9112-7.1.1", "a chunk extension in quotes", chunked(b'5;a="b;c"\r\nhello\r\n' + END), served(body=b"hello")),
        *(("9112-7.1", name, chunked(body + HIDDEN), refused(400, 413, silent=True)) for name, body in bad.items()),
        *(("9112-7.1", name, chunked(body + HIDDEN), refused(400, silent=True)) for name, body in lenient.items()),
        ("9110-5.6.3", "blanks around a chunk extension", chunked(b"5 ; a = b\r\nhello\r\n" + END), served(body=b"hello")),
        *(("9112-7.1", name, chunked(body), either(400, 413, body=b"hello")) for name, body in odd.items()),
        *(("9112-7.1.2", name, chunked(hello + b"0\r\n" + field + b"\r\n"), either(body=b"hello")) for name, field in trailers.items()),
        ("9112-7.1.2", "a malformed trailer", chunked(hello + b"0\r\nX T: v\r\n\r\n"), either(body=b"hello")),
        ("9112-7.1.2", "a trailer without a colon", chunked(hello + b"0\r\nX\r\n\r\n"), either(body=b"hello")),
        ("9112-7.1.2", "endless trailers", chunked(hello + b"0\r\n" + b"X-T: v\r\n" * 20_000 + b"\r\n"), refused(400, 413, 431, silent=True)),
        ("9112-8", "a chunked body that ends early", (chunked(b"5\r\nhel"), None), refused(400, 408, silent=True)),
    )


def all_cases():
    for part in (first_lines, hosts, headers, lengths, smuggling, bodies):
        yield from part()
