#!/usr/bin/env python3
# lightforce: writes small-model.safetensors, a complete model with random weights for tests
#
# SPDX-License-Identifier: LGPL-2.1-or-later
#
#   make_small_model.py TOKENIZER.model OUT.safetensors
#
# Needs torch, safetensors and sentencepiece; the tests use the file it made.
import json
import sys

import torch
from safetensors.torch import save_file

g = torch.Generator().manual_seed(7)
w = {}
C, FFN, FREQ, TEXT, TEXT_FFN, Z, LAYERS, TEXT_LEN = 64, 96, 32, 32, 48, 16, 2, 24


def normal(name, *shape, std=1.0, mean=0.0):
    w[name] = (torch.randn(*shape, generator=g) * std + mean).bfloat16()


def linear(name, n_out, n_in):
    normal(name + ".weight", n_out, n_in, std=n_in**-0.5)
    normal(name + ".bias", n_out, std=0.1)


tokenizer = open(sys.argv[1], "rb").read()
import sentencepiece

vocab = sentencepiece.SentencePieceProcessor(model_proto=tokenizer).get_piece_size()

t = "transformer."
normal(t + "patch_embedding.weight", C, Z, 1, 2, 2, std=(4 * Z) ** -0.5)
normal(t + "patch_embedding.bias", C, std=0.1)
linear(t + "text_embedding.0", C, TEXT)
linear(t + "text_embedding.2", C, C)
linear(t + "time_embedding.0", C, FREQ)
linear(t + "time_embedding.2", C, C)
linear(t + "time_projection.1", 6 * C, C)
for i in range(LAYERS):
    p = f"{t}blocks.{i}."
    normal(p + "modulation", 1, 6, C, std=0.3)
    for a in ("self_attn", "cross_attn"):
        for m in "qkvo":
            linear(f"{p}{a}.{m}", C, C)
        for m in "qk":
            normal(f"{p}{a}.norm_{m}.weight", C, std=0.2, mean=1.5)
    normal(p + "norm3.weight", C, std=0.1, mean=1)
    normal(p + "norm3.bias", C, std=0.1)
    linear(p + "ffn.0", FFN, C)
    linear(p + "ffn.2", C, FFN)
normal(t + "head.modulation", 1, 2, C, std=0.2)
linear(t + "head.head", 4 * Z, C)

t = "text_encoder."
normal(t + "token_embedding.weight", vocab, TEXT)
normal(t + "norm.weight", TEXT, std=0.1, mean=1)
p = t + "blocks.0."
for n in ("norm1", "norm2"):
    normal(p + n + ".weight", TEXT, std=0.1, mean=1)
for m in "qkvo":
    normal(p + f"attn.{m}.weight", TEXT, TEXT, std=TEXT**-0.5)
normal(p + "pos_embedding.embedding.weight", 32, 2)
normal(p + "ffn.gate.0.weight", TEXT_FFN, TEXT, std=TEXT**-0.5)
normal(p + "ffn.fc1.weight", TEXT_FFN, TEXT, std=TEXT**-0.5)
normal(p + "ffn.fc2.weight", TEXT, TEXT_FFN, std=TEXT_FFN**-0.5)

t = "decoder.decoder."


def conv(name, n_out, n_in, k, bias=True):
    normal(t + name + ".weight", n_out, n_in, k, k, std=1.4 * (n_in * k * k) ** -0.5)
    if bias:
        normal(t + name + ".bias", n_out, std=0.05)


widths = (16, 8, 8, 8)
conv("1", widths[0], Z, 3)
i = 3
for stage in range(3):
    n = widths[stage]
    for _ in range(3):
        for j, (a, b) in zip((0, 2, 4), ((n, 2 * n), (n, n), (n, n))):
            conv(f"{i}.conv.{j}", a, b, 3)
        i += 1
    conv(f"{i + 1}.conv", 2 * n, n, 1, bias=False)
    conv(f"{i + 2}", widths[stage + 1], n, 3, bias=False)
    i += 3
conv("22", 3, widths[3], 3)
w[t + "22.bias"] += 0.5

t = "encoder."
conv("stem", 16, 48, 3)
conv("down1", 12, 16, 4)
conv("down2", 16, 12, 4)
for name, n in (("body1.0", 12), ("body2.0", 16), ("body2.1", 16)):
    conv(name + ".0", n, n, 3)
    conv(name + ".2", n, n, 3)
conv("out", Z, 16, 1)
w["tokenizer.model"] = torch.frombuffer(bytearray(tokenizer), dtype=torch.uint8)

config = {
    "format": 1,
    "name": "small-model",
    "transformer": {"dim": C, "heads": 1, "layers": LAYERS, "ffn_dim": FFN, "freq_dim": FREQ,
                    "text_dim": TEXT, "text_len": TEXT_LEN, "z": Z, "chunk_frames": 3},
    "text_encoder": {"dim": TEXT, "heads": 2, "layers": 1, "ffn_dim": TEXT_FFN},
    "decoder": {"kind": "tiny"},
    "sampling": {"steps": [1000, 750, 500, 250], "shift": 5.0},
    "cache": {"window": 9, "sink": 1, "relative": True},
    "sparse": {"target": 0.5, "base": 0.6, "total_frames": 63, "block_q": 8, "block_k": 8,
               "keep_frames": 3, "keep_sink": 1, "keep_near": 1},
    "video": {"width": 96, "height": 64, "framerate": [16, 1]},
}
save_file(w, sys.argv[2], {"lightforce": json.dumps(config)})
