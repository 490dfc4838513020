"""Arrays as few bytes and back, and what to do about what that loses. Pure numpy, no Flower.

A codec turns a vector of float32 into bytes; parts are the groups that travel, each as one vector;
a remainder keeps what encoding lost, to be sent with the next update. Packing makes one array of
many, whatever they hold.
"""

from fedrec.transport.codecs import CODECS, Bytes, Codec, Floats
from fedrec.transport.packing import Packed, pack, unpack
from fedrec.transport.parts import Parts, Shapes, decode_parts, encode_parts, shapes_of
from fedrec.transport.remainder import Remainder, Rows

__all__ = [
    "CODECS",
    "Bytes",
    "Codec",
    "Floats",
    "Packed",
    "Parts",
    "Remainder",
    "Rows",
    "Shapes",
    "decode_parts",
    "encode_parts",
    "pack",
    "shapes_of",
    "unpack",
]
