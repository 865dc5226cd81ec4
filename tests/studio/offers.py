"""Offers of WebRTC as browsers make them, and worse."""
# SPDX-License-Identifier: LGPL-2.1-or-later
LINES = """v=0
o=- 4611731400430051336 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0
a=msid-semantic: WMS
m=video 9 UDP/TLS/RTP/SAVPF 96 102 103
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=ice-ufrag:EsAw
a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1
a=ice-options:trickle
a=fingerprint:sha-256 %s
a=setup:actpass
a=mid:0
a=recvonly
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 nack pli
a=rtpmap:102 H264/90000
a=rtcp-fb:102 nack pli
a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
a=rtpmap:103 H264/90000
a=fmtp:103 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f
""" % ":".join(["AB"] * 32)


def offer(*replaced):
    """The offer with pairs of texts replaced."""
    text = LINES
    for old, new in replaced:
        assert old in text, old
        text = text.replace(old, new)
    return text.replace("\n", "\r\n")


def with_candidates(port):
    """The offer, with an address and a name to send to."""
    lines = "".join("a=candidate:%d 1 udp %d %s %d typ host\n" % (i, 2122260223 - i, host, port)
                    for i, host in enumerate(("127.0.0.1", "localhost")))
    return offer(("a=mid:0\n", "a=mid:0\n" + lines + "a=end-of-candidates\n"))


GOOD = offer()
VP8_ONLY = offer((" 96 102 103", " 96"), ("a=rtpmap:102 H264/90000\n", ""),
                 ("a=rtpmap:103 H264/90000\n", ""))
MEDIA = LINES[LINES.index("m=video"):]

# each with a word of its refusal
BAD = [
    ("", "no session description"), ("v=0", "other than one media"),
    ("hello", "other than one media"), ("\0", "no session description"),
    ("v=0\r\n" * 3000, "other than one media"), (GOOD + "a=x\r\n" * 4000, "longer than"),
    (offer(("m=video", "m=audio")), "no video"),
    (offer(("UDP/TLS/RTP/SAVPF", "RTP/AVP")), "no video"),
    (offer(("a=recvonly", "a=sendrecv")), "not recvonly"),
    (offer(("a=mid:0\n", "")), "no mid"), (offer(("a=rtcp-mux\n", "")), "no rtcp-mux"),
    (offer(("a=ice-ufrag:EsAw\n", "")), "ice-ufrag"), (offer(("EsAw", "")), "ice-ufrag"),
    (offer(("P2uYro0UCOQ4zxjKXaWCBui1", "short")), "ice-pwd"),
    (offer(("EsAw", "x" * 300)), "ice-ufrag"),
    (offer(("sha-256", "md5")), "fingerprint"), (offer(("AB:AB", "AB")), "fingerprint"),
    (offer(("actpass", "passive")), "setup"), (offer(("a=setup:actpass\n", "")), "setup"),
    (LINES + MEDIA, "other than one media"), (LINES + MEDIA * 8, "other than one media"),
    (offer((" 96 102 103", " 103"), ("a=rtpmap:96 VP8/90000\n", "")), "neither H264"),
    (offer(("VP8/90000", "VP9/90000"), ("packetization-mode=1", "packetization-mode=0")),
     "neither H264"),
    (offer((" 96 102 103", " 96 102 300")), "payload type"),
    (offer((" 96 102 103", " 96 102 x")), "payload type"),
    (offer((" 96 102 103", " 96 99999999999999999999")), "payload type"),
    (offer((" 96 102 103", " 5"), ("VP8/90000", "/")), "neither H264"),
]
