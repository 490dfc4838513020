"""Sound bytes made unsound, the same way for the same seed."""

from __future__ import annotations

from random import Random

AWKWARD = (
    b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r", b"\n\n", b'"', b"'", b"NaN", b"Infinity",
    b"-1", b"1e999", b"9" * 5000, b"[" * 3000, b'{"a":' * 3000, b"(" * 300, b"-" * 3000,
    b"\\ud800", b"\\u0000", b"null", b"true", b"[]", b"{}", b'""', b"0", b"18446744073709551616",
    b"../../x", b"/etc/x", b"\xc3\x28", b"\xf0\x9f\x8d\x95", b"a" * 200_000, b",", b"\t", b"::",
    b"|", b"\x1f", b"0001-01-01T00:00:00+23:59", b"9999-12-31", b"2020-02-30", b"=", b"\n[a]\n",
)  # fmt: skip


def mutated(content: bytes, random: Random) -> bytes:
    """`content` after one to four changes."""
    for _ in range(random.randint(1, 4)):
        content = random.choice(_CHANGES)(content, random)
    return content


def _flip(content: bytes, random: Random) -> bytes:
    if not content:
        return content
    changed = bytearray(content)
    changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def _set(content: bytes, random: Random) -> bytes:
    at = random.randrange(len(content) + 1)
    return content[:at] + random.randbytes(random.randint(1, 8)) + content[at + 1 :]


def _cut(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _leave_out(content: bytes, random: Random) -> bytes:
    start = random.randrange(len(content) + 1)
    return content[:start] + content[start + random.randint(1, 20) :]


def _repeat(content: bytes, random: Random) -> bytes:
    start = random.randrange(len(content) + 1)
    end = start + random.randint(1, 60)
    return content[:end] + content[start:]


def _awkward(content: bytes, random: Random) -> bytes:
    at = random.randrange(len(content) + 1)
    return content[:at] + random.choice(AWKWARD) + content[at + random.randint(0, 3) :]


def _awkward_word(content: bytes, random: Random) -> bytes:
    """Something awkward in place of a word: between two of the marks that texts separate by."""
    marks = [at for at, byte in enumerate(content) if byte in b',:;|\t\n =[]{}"']
    if len(marks) < 2:
        return _awkward(content, random)
    first = random.randrange(len(marks) - 1)
    return content[: marks[first] + 1] + random.choice(AWKWARD) + content[marks[first + 1] :]


_CHANGES = (_flip, _set, _cut, _leave_out, _repeat, _awkward, _awkward_word, _awkward_word)
