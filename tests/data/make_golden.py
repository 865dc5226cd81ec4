#!/usr/bin/env python3
# lightforce: writes golden.tar.xz, what models/reference.py makes of small random models
#
# SPDX-License-Identifier: LGPL-2.1-or-later
#
#   make_golden.py OUT.tar.xz [SEED]
#
# Needs torch and safetensors. Each case is one safetensors file, whose metadata holds "case" (what to
# run) and "config" (JSON). Tensors: "w.*" weights (bfloat16, exact), "in.*" inputs, "out.*" expected
# outputs (float32; selected blocks as uint8). golden/torch has the weights of some cases in the
# containers and key layouts of the published files, from which the same has to come.
import json
import os
import sys
import tarfile
import tempfile
from collections import OrderedDict

import torch
from safetensors.torch import load_file, save_file

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "models"))
import reference as R  # noqa: E402

torch.set_grad_enabled(False)


class Source:
    """Seeded random weights and inputs, rounded to bfloat16 so files are exact."""

    def __init__(self, seed):
        self.g = torch.Generator().manual_seed(seed)

    def normal(self, *shape, std=1.0, mean=0.0):
        x = torch.randn(*shape, generator=self.g) * std + mean
        return x.bfloat16().float()


def transformer_weights(r, dim, heads, layers, ffn_dim, freq_dim, text_dim, z):
    w = {}

    def linear(name, n_out, n_in, gain=1.0):
        w[name + ".weight"] = r.normal(n_out, n_in, std=gain * n_in ** -0.5)
        w[name + ".bias"] = r.normal(n_out, std=0.1)

    w["patch_embedding.weight"] = r.normal(dim, z, 1, 2, 2, std=(4 * z) ** -0.5)
    w["patch_embedding.bias"] = r.normal(dim, std=0.1)
    linear("text_embedding.0", dim, text_dim)
    linear("text_embedding.2", dim, dim)
    linear("time_embedding.0", dim, freq_dim)
    linear("time_embedding.2", dim, dim)
    linear("time_projection.1", 6 * dim, dim, 0.5)
    for i in range(layers):
        p = f"blocks.{i}."
        w[p + "modulation"] = r.normal(1, 6, dim, std=0.2)
        for a in ("self_attn", "cross_attn"):
            for m in "qkvo":
                linear(f"{p}{a}.{m}", dim, dim)
            for m in "qk":
                w[f"{p}{a}.norm_{m}.weight"] = r.normal(dim, std=0.2, mean=1.5)
        w[p + "norm3.weight"] = r.normal(dim, std=0.1, mean=1)
        w[p + "norm3.bias"] = r.normal(dim, std=0.1)
        linear(p + "ffn.0", ffn_dim, dim)
        linear(p + "ffn.2", dim, ffn_dim)
    w["head.modulation"] = r.normal(1, 2, dim, std=0.2)
    linear("head.head", 4 * z, dim)
    return w


def generator_case(path, r, config, text_dim, real_text, H, W, chunks, prompts=1):
    """A whole rollout; with prompts=2 the text changes half way."""
    c = config
    w = transformer_weights(r, c["dim"], c["heads"], c["layers"], c["ffn_dim"], c["freq_dim"],
                            text_dim, c["z"])
    gen = R.Generator(w, c)
    gen.trace = [] if c.get("sparse") else None
    tensors = {"w." + k: v.bfloat16() for k, v in w.items()}
    for i in range(chunks):
        if i % -(-chunks // prompts) == 0:
            text = r.normal(real_text, text_dim)
            tensors[f"in.text.{i}"] = text
            gen.set_text(text)
        noises = [r.normal(c["chunk_frames"], c["z"], H, W) for _ in range(4)]
        for j, x in enumerate(noises):
            tensors[f"in.noise.{i}.{j}"] = x.bfloat16()
        if i == 0:
            tensors["out.first_flow"] = gen.forward(noises[0], 1000.0).clone()
            if gen.trace:
                gen.trace.clear()
        tensors[f"out.latent.{i}"] = gen.chunk(noises)
        if gen.trace is not None:
            # selection of the chunk's first forward pass, every layer
            for layer in range(c["layers"]):
                tensors[f"out.blocks.{i}.{layer}"] = gen.trace[layer].to(torch.uint8)
            gen.trace.clear()
    write(path, "generator", dict(c, text_dim=text_dim, height=H, width=W, chunks=chunks), tensors)


def decoder_weights(r, dim, z, encoder=False):
    w = {}

    def conv(name, n_out, n_in, *kernel):
        fan = n_in * torch.tensor(kernel).prod().item()
        w[name + ".weight"] = r.normal(n_out, n_in, *kernel, std=1.2 * fan ** -0.5)
        w[name + ".bias"] = r.normal(n_out, std=0.05)

    def residual(p, n_in, n_out):
        w[p + "residual.0.gamma"] = r.normal(n_in, 1, 1, 1, std=0.1, mean=1)
        conv(p + "residual.2", n_out, n_in, 3, 3, 3)
        w[p + "residual.3.gamma"] = r.normal(n_out, 1, 1, 1, std=0.1, mean=1)
        conv(p + "residual.6", n_out, n_out, 3, 3, 3)
        if n_in != n_out:
            conv(p + "shortcut", n_out, n_in, 1, 1, 1)

    top = 4 * dim
    conv("conv2", z, z, 1, 1, 1)
    conv("decoder.conv1", top, z, 3, 3, 3)
    residual("decoder.middle.0.", top, top)
    w["decoder.middle.1.norm.gamma"] = r.normal(top, 1, 1, std=0.1, mean=1)
    conv("decoder.middle.1.to_qkv", 3 * top, top, 1, 1)
    conv("decoder.middle.1.proj", top, top, 1, 1)
    residual("decoder.middle.2.", top, top)
    i, n_in = 0, top
    for stage, n_out in enumerate((4 * dim, 4 * dim, 2 * dim, dim)):
        n_in = n_in // 2 if stage else n_in
        for _ in range(3):
            residual(f"decoder.upsamples.{i}.", n_in, n_out)
            n_in, i = n_out, i + 1
        if stage < 3:
            conv(f"decoder.upsamples.{i}.resample.1", n_out // 2, n_out, 3, 3)
            if stage < 2:
                conv(f"decoder.upsamples.{i}.time_conv", 2 * n_out, n_out, 3, 1, 1)
            i += 1
    w["decoder.head.0.gamma"] = r.normal(dim, 1, 1, 1, std=0.1, mean=1)
    conv("decoder.head.2", 3, dim, 3, 3, 3)
    return w


def decoder_case(path, r, dim, z, latents, H, W):
    w = decoder_weights(r, dim, z)
    x = r.normal(latents, z, H, W)
    tensors = {"w." + k: v.bfloat16() for k, v in w.items()}
    tensors["in.latent"] = x
    tensors["out.pictures"] = R.Decoder(w).decode(x)
    write(path, "decoder", dict(dim=dim, z=z), tensors)


def tiny_decoder_case(path, r, z, latents, H, W, width=(64, 32, 16, 16)):
    w = {}

    def conv(name, n_out, n_in, k, bias=True):
        w[name + ".weight"] = r.normal(n_out, n_in, k, k, std=1.4 * (n_in * k * k) ** -0.5)
        if bias:
            w[name + ".bias"] = r.normal(n_out, std=0.05)

    conv("decoder.1", width[0], z, 3)
    i = 3
    for stage in range(3):
        n = width[stage]
        for _ in range(3):
            for j, (a, b) in zip((0, 2, 4), ((n, 2 * n), (n, n), (n, n))):
                conv(f"decoder.{i}.conv.{j}", a, b, 3)
            i += 1
        conv(f"decoder.{i + 1}.conv", 2 * n, n, 1, bias=False)   # stage 0 uses its last n only
        conv(f"decoder.{i + 2}", width[stage + 1], n, 3, bias=False)
        i += 3
    conv("decoder.22", 3, width[3], 3)
    w["decoder.22.bias"] += 0.5
    x = r.normal(latents, z, H, W)
    tensors = {"w." + k: v.bfloat16() for k, v in w.items()}
    tensors["in.latent"] = x
    tensors["out.pictures"] = R.TinyDecoder({k: v.bfloat16().float() for k, v in w.items()}).decode(x)
    write(path, "tiny-decoder", dict(z=z), tensors)


def text_case(path, r, vocab, dim, heads, ffn, layers, length, total):
    w = {"token_embedding.weight": r.normal(vocab, dim), "norm.weight": r.normal(dim, std=0.1, mean=1)}
    for i in range(layers):
        p = f"blocks.{i}."
        for n in ("norm1", "norm2"):
            w[p + n + ".weight"] = r.normal(dim, std=0.1, mean=1)
        for m in "qkvo":
            w[p + f"attn.{m}.weight"] = r.normal(dim, dim, std=dim ** -0.5 * (0.5 if m in "qk" else 1))
        w[p + "pos_embedding.embedding.weight"] = r.normal(32, heads)
        w[p + "ffn.gate.0.weight"] = r.normal(ffn, dim, std=dim ** -0.5)
        w[p + "ffn.fc1.weight"] = r.normal(ffn, dim, std=dim ** -0.5)
        w[p + "ffn.fc2.weight"] = r.normal(dim, ffn, std=ffn ** -0.5)
    ids = torch.randint(2, vocab, (total,), generator=r.g)
    ids[length:] = 0
    tensors = {"w." + k: v.bfloat16() for k, v in w.items()}
    tensors["in.ids"] = ids.to(torch.int32)
    tensors["in.length"] = torch.tensor([length], dtype=torch.int32)
    tensors["out.embedding"] = R.t5_encode(w, ids, length, heads, layers)
    write(path, "text-encoder", dict(dim=dim, heads=heads, layers=layers, ffn_dim=ffn), tensors)


def growth_case(path):
    rows = []
    for total, window, target, base in ((21, -1, .8, .9), (21, -1, .88, .98), (63, 12, .85, .95),
                                        (63, 12, .8, .9), (9, -1, .5, .7), (240, 21, .9, .95)):
        s = [R.chunk_sparsity(i, 3, total, target, base, window) for i in range(total // 3 + 4)]
        rows.append(dict(total_frames=total, chunk_frames=3, window=window, target=target, base=base,
                         sparsity=s))
    with open(path, "w") as f:
        json.dump(rows, f, indent=1)


def write(path, case, config, tensors):
    save_file({k: v.contiguous() for k, v in tensors.items()}, path,
              {"case": case, "config": json.dumps(config)})
    print(f"{os.path.basename(path):28} {os.path.getsize(path) / 1e6:6.2f} MB")


def write_cases(out, seed):
    os.makedirs(out, exist_ok=True)
    at = lambda name: os.path.join(out, name)
    base = dict(ffn_dim=320, freq_dim=64, text_len=24, z=4, chunk_frames=3)
    sparse = dict(target=.8, base=.9, total_frames=21, keep_frames=6, keep_sink=1, keep_near=2)
    r = Source(seed)
    generator_case(at("dense.safetensors"), r, dict(base, dim=256, heads=2, layers=2),
                   48, 9, 16, 24, 3)
    generator_case(at("dense-window.safetensors"), r,
                   dict(base, dim=128, heads=2, layers=2, window=6, sink=1), 48, 11, 12, 20, 5)
    generator_case(at("sparse-short.safetensors"), r,
                   dict(base, dim=128, heads=2, layers=2, sparse=dict(sparse, block_q=16, block_k=16)),
                   48, 7, 16, 16, 6, prompts=2)
    generator_case(at("sparse-short-64.safetensors"), r,
                   dict(base, dim=256, heads=2, layers=1, sparse=dict(sparse, block_q=64, block_k=64)),
                   48, 24, 16, 32, 5)
    generator_case(at("sparse-long.safetensors"), r,
                   dict(base, dim=128, heads=2, layers=2, window=9, sink=1, relative=True,
                        sparse=dict(target=.7, base=.8, total_frames=63, keep_frames=3, keep_sink=1,
                                    keep_near=1, block_q=16, block_k=16)), 48, 5, 16, 16, 7)
    decoder_case(at("decoder.safetensors"), r, 8, 16, 4, 6, 8)
    tiny_decoder_case(at("tiny-decoder.safetensors"), r, 16, 4, 6, 8)
    text_case(at("text-encoder.safetensors"), r, 300, 64, 4, 160, 3, 13, 32)
    growth_case(at("chunk-aware-growth.json"))
    generator_case(at("sparse-ragged.safetensors"), r,        # 60 tokens a frame in blocks of 16
                   dict(base, dim=128, heads=1, layers=2, sparse=dict(sparse, block_q=32, block_k=16)),
                   48, 10, 12, 20, 5)


def write_torch_files(golden, out):
    """odd.pt holds every tensor form a loader meets (views, offsets, shared storage, scalars,
    parameters), odd.safetensors its contents."""
    os.makedirs(out, exist_ok=True)
    at = lambda name: os.path.join(out, name)

    def weights(case):
        return OrderedDict((k[2:], v) for k, v in load_file(f"{golden}/{case}.safetensors").items()
                           if k.startswith("w."))

    w = weights("sparse-short")
    ema = OrderedDict((f"model._fsdp_wrapped_module.{k}", v.float()) for k, v in w.items())
    raw = OrderedDict((f"model.{k}", torch.full_like(v, 7).float()) for k, v in w.items())
    torch.save({"step": 600, "generator": raw, "generator_ema": ema}, at("short_video_gen.pt"))

    w = weights("decoder")
    w["encoder.conv1.weight"] = torch.randn(8, 3, 3, 3, 3, generator=torch.Generator().manual_seed(1))
    torch.save(OrderedDict((k, v.float()) for k, v in w.items()), at("Wan2.1_VAE.pth"))
    torch.save(OrderedDict((k, v.half()) for k, v in weights("tiny-decoder").items()), at("taew2_1.pth"))
    torch.save(weights("text-encoder"), at("models_t5_umt5-xxl-enc-bf16.pth"))

    base = torch.arange(60, dtype=torch.float32).view(3, 4, 5)
    odd = OrderedDict(plain=base, transposed=base.transpose(0, 2), slice=base[1:, 1:3, ::2], first=base.flatten()[:7],
                      last=base.flatten()[50:], scalar=torch.tensor(2.5), empty=torch.empty(0, 3),
                      int64=torch.arange(5), half=base.half(), bf16=base.bfloat16(), bools=base > 30,
                      parameter=torch.nn.Parameter(base + 1))
    torch.save({"state_dict": odd, "note": "text", "list": [1, 2.0, None, (3, "x")]}, at("odd.pt"))
    torch.save(odd, at("odd-legacy.pt"), _use_new_zipfile_serialization=False)
    save_file({k: v.detach().clone().contiguous() for k, v in odd.items()}, at("odd.safetensors"))


def main(out, seed):
    with tempfile.TemporaryDirectory() as folder:
        golden = os.path.join(folder, "golden")
        write_cases(golden, seed)
        write_torch_files(golden, os.path.join(golden, "torch"))
        with tarfile.open(out, "w:xz") as tar:
            tar.add(golden, "golden")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 1)
