"""Why lbd may fail a case: (tool, case) -> the reason."""

LIBRARY = "the h2 library takes all errors of a frame's form for PROTOCOL_ERROR; the connection ends as it must"
# Cases of which only the code is another one.
CODES = """
4.3 a block that ends in the middle of a field
4.3 an index of 0
4.3 an index beyond both tables
4.3 a literal with an index beyond both tables
4.3 a Huffman code with the end-of-string symbol
4.3 Huffman padding longer than 7 bits
4.3 Huffman padding of zeros
4.3 an integer that never ends
4.3 a string longer than the block
7541-4.2 a table size update at the end of a block
7541-4.2 a table size update between fields
7541-4.2 a table size update above the limit
7541-2.3 the dynamic table forgets what does not fit
5.1 DATA on a half-closed stream
5.1 HEADERS on a half-closed stream
6.3 PRIORITY of 4 bytes
6.3 PRIORITY of 6 bytes
6.4 RST_STREAM of 3 bytes
6.4 RST_STREAM of 5 bytes
6.5 SETTINGS with ACK and a payload
6.5 SETTINGS of 3 bytes
6.5 SETTINGS of 7 bytes
6.5 a window above 2^31-1
6.7 PING of 7 bytes
6.7 PING of 9 bytes
6.8 GOAWAY of 7 bytes
6.9 WINDOW_UPDATE of 3 bytes
6.9 WINDOW_UPDATE of 5 bytes
6.9 WINDOW_UPDATE of 3 bytes on a stream
""".strip().splitlines()

STREAMED = (
    "bodies are streamed: by its length the request was whole when it was passed on, without what came "
    "too much; the client's stream is reset"
)
SETTINGS = "the h2 library does not insist on SETTINGS as the first frame"
FRAMES = {
    "3.4 another first frame than SETTINGS": SETTINGS,
    "3.4 HEADERS before SETTINGS": SETTINGS,
    "8.1.1 a length of 0 and a body": STREAMED,
    "8.1.1 a length below the body of two frames": STREAMED,
    "8.1 a pseudo-header in trailers": "the h2 library drops it; the origin gets no such trailer",
    "8.3 a :path with a fragment": "the http library cuts the fragment off; the origin gets the path without it",
}

ADDRESS = "the grammar of an endpoint's address is told in words, not as a regular expression: 400 says what is wrong"
TOGETHER = "that two of its parts exclude each other (until and for, switch and a share) is told in words: 400 says so"
FRACTION = "a whole number may not be written with a fraction, as in 5.0, which JSON Schema takes for an integer"
ADMIN = {
    "DELETE /v1/pools/{pool}/endpoints/{address}: positive_data_acceptance": ADDRESS,
    "PUT /v1/pools/{pool}/endpoints/{address}: positive_data_acceptance": ADDRESS,
    "POST /v1/pools/{pool}/endpoints: positive_data_acceptance": ADDRESS,
    "PUT /v1/split: positive_data_acceptance": TOGETHER,
    "PUT /v1/maintenance: positive_data_acceptance": TOGETHER,
    "POST /v1/rollouts: positive_data_acceptance": FRACTION,
    "POST /v1/rollouts/plan: positive_data_acceptance": FRACTION,
    "POST /v1/rollouts: negative_data_rejection": "serde takes a list of fields for an object as well; what it says is judged alike",
    "POST /v1/rollouts/plan: negative_data_rejection": "serde takes a list of fields for an object as well; what it says is judged alike",
    "POST /v1/rollouts/plan: allow_header_conformance": "GET is taken there, for a rollout of the id `plan`",
}

CLIENT = "the client's own fault, nginx gets the same:"
OTHERS = {
    ("curl", "--http2-prior-knowledge: 50 at a time, 200 in all"): f"{CLIENT} curl 7.88 cannot use such a connection again",
    ("curl", "--http2-prior-knowledge: 20 on one connection"): f"{CLIENT} curl 7.88 cannot use such a connection again",
    ("httpx", "HTTP/2 answers given up"): f"{CLIENT} httpcore does not give back the window of what it did not read",
    ("testssl.sh", "engine_problem"): "the client's OpenSSL lacks something",
    ("testssl.sh", "RC4"): "the client's OpenSSL lacks something: that RC4 is refused is a case of tlslite-ng",
    ("testssl.sh", "sessionresumption_ticket"): "it sometimes hangs up before the ticket, which follows the handshake of TLS 1.3; "
    "resumption is a case of openssl s_client",
    ("testssl.sh", "cipher_order"): "the client chooses: all that is offered is strong, and it knows which it is fast at",
    ("testssl.sh", "cert_revocation"): "the harness has a self-signed certificate",
}

REASONS = {
    **{(f"HTTP/2 error codes, {way}", case): LIBRARY for way in ("h2c", "TLS") for case in CODES},
    **{(f"HTTP/2 frames, {way}", case): why for way in ("h2c", "TLS") for case, why in FRAMES.items()},
    **{("schemathesis", case): why for case, why in ADMIN.items()},
    **OTHERS,
}
