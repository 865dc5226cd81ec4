#!/usr/bin/env python3
"""Inputs that fuzzers begin with: make-seeds.py GOLDEN_DIR MODEL.safetensors OUT_DIR"""
import json
import os
import struct
import sys
import zipfile

golden, model, out = sys.argv[1:4]


def write(target, name, data):
    folder = os.path.join(out, target)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, name), "wb") as f:
        f.write(data)


def header(path):
    with open(path, "rb") as f:
        return f.read(struct.unpack("<Q", f.read(8))[0])


odd = os.path.join(golden, "torch", "odd.safetensors")
with open(odd, "rb") as f:
    whole = f.read()
write("safetensors", "odd", whole[8:])
write("safetensors", "raw", whole + b"!")
write("safetensors", "metadata", json.dumps(
    {"__metadata__": {"lightforce": "{}"}, "blocks.0.attn1.to_q.weight":
     {"dtype": "F8_E4M3", "shape": [2, 2], "data_offsets": [0, 4]}}).encode() + bytes(4))

for name in ("odd.pt", "odd-legacy.pt"):
    with open(os.path.join(golden, "torch", name), "rb") as f:
        write("torch", name, f.read())
with zipfile.ZipFile(os.path.join(golden, "torch", "odd.pt")) as z:
    write("pickle", "odd", z.read(next(n for n in z.namelist() if n.endswith("/data.pkl"))))
with zipfile.ZipFile(os.path.join(golden, "torch", "taew2_1.pth")) as z:
    write("pickle", "flat", z.read(next(n for n in z.namelist() if n.endswith("/data.pkl"))))

description = json.loads(header(model))["__metadata__"]["lightforce"]
write("model", "packed", description.encode())
write("model", "dense", b'{"format":1,"sparse":null,"cache":{"window":-1},"decoder":{"kind":"wan"}}')
write("model", "steps", b'{"sampling":{"steps":[1000,1e2,0.5],"shift":3},"video":{"framerate":[30000,1001]}}')
write("model", "escapes", rb'{"format":1,"name":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00","license":"\377\x80"}')

write("prompts", "script", b"\xef\xbb\xbf# comment\r\n\n00:00 first\n00:00:01.500 \xc3\xa9t\xc3\xa9\n1:02:03.004\tlast")
write("prompts", "order", b"00:02 a\n00:01 b\n")
