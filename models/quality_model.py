"""The packed model for batches of streams: dense, or sparse in any setting of the packed kind.

reference.py defines it for one stream; check() holds this against it.
"""
import functools
import json
import math

import torch
import torch.nn.functional as F
from safetensors import safe_open

import reference
import tokenizer


class Stream:
    """What a batch of streams remembers.  A cache is never changed in place, so that streams can share it."""

    def __init__(self, text):
        self.text, self.cache, self.frames, self.numbers = text, None, 0, []
        self.kept = []        # of each pass: share of query-key pairs computed (mean of the layers), frames visible
        self.trace = None     # set to a list to record the frames that the first stream's query blocks look at

    def fork(self):
        s = Stream(self.text)
        s.cache, s.frames, s.numbers = self.cache, self.frames, self.numbers
        return s


class Model:
    def __init__(self, path, device):
        with safe_open(path, "pt") as f:
            self.config = json.loads(f.metadata()["lightforce"])
            tensors = {k: f.get_tensor(k) for k in f.keys()}
        self.c = dict(self.config["transformer"], **self.config["cache"])
        self.device = torch.device(device)
        self.words = tokenizer.Tokenizer(bytes(tensors.pop("tokenizer.model").tolist()), self.c["text_len"])
        part = lambda p: {k[len(p):]: v.float() for k, v in tensors.items() if k.startswith(p)}
        self.host = part("transformer."), part("text_encoder."), part("decoder.")
        self.w = {k: v.to(device) for k, v in self.host[0].items()}
        self.decoder = Decoder(self.host[2], device)
        self.steps, self.shift = self.config["sampling"]["steps"], self.config["sampling"]["shift"]
        video = self.config["video"]
        self.shape = self.c["chunk_frames"], self.c["z"], video["height"] // 8, video["width"] // 8
        self.grid = self.shape[2] // 2, self.shape[3] // 2
        self.width = self.c["dim"] // self.c["heads"]
        self.times, self.angles = {}, {}

    def embed(self, prompts):
        """Text embeddings [B, text_len, text_dim] by the plain definition, on the CPU."""
        e, out = self.config["text_encoder"], []
        for prompt in prompts:
            ids = torch.tensor(self.words(prompt))
            out.append(reference.t5_encode(self.host[1], ids, int((ids != 0).sum()), e["heads"], e["layers"]))
        return torch.stack(out)

    def start(self, prompts):
        """-> Stream with the keys and values of the text in every layer."""
        w = self.w
        x = self.embed(prompts).to(self.device)
        x = self.linear(x, "text_embedding.0")
        x = self.linear(F.gelu(x, approximate="tanh"), "text_embedding.2")
        text = []
        for i in range(self.c["layers"]):
            p = f"blocks.{i}.cross_attn."
            text.append((self.heads(self.rms(self.linear(x, p + "k"), w[p + "norm_k.weight"])),
                         self.heads(self.linear(x, p + "v"))))
        return Stream(text)

    def linear(self, x, name):
        return F.linear(x, self.w[name + ".weight"], self.w[name + ".bias"])

    def heads(self, x):
        return x.unflatten(-1, (self.c["heads"], -1))

    @staticmethod
    def rms(x, g):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * g

    def rotation(self, start, frames):
        """cos and sin [tokens, 1, d/2] of `frames` frames from number `start`."""
        if (start, frames) not in self.angles:
            a = reference.rope_angles(frames, *self.grid, self.width, start)
            self.angles[start, frames] = tuple(f(a).float()[:, None].to(self.device) for f in (torch.cos, torch.sin))
        return self.angles[start, frames]

    @staticmethod
    def rotate(x, angle):
        cos, sin = angle
        even, odd = x.unflatten(-1, (-1, 2)).unbind(-1)
        return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)

    def time(self, step):
        """Modulation [6, dim] and head embedding [dim] of a timestep."""
        if step not in self.times:
            half = self.c["freq_dim"] // 2
            angle = step * 10000 ** (-torch.arange(half, dtype=torch.float64) / half)
            t = torch.cat([angle.cos(), angle.sin()]).float().to(self.device)
            t = self.linear(F.silu(self.linear(t, "time_embedding.0")), "time_embedding.2")
            self.times[step] = self.linear(F.silu(t), "time_projection.1").view(6, -1), t
        return self.times[step]

    def past(self, stream):
        """What the next chunk sees of the past: per layer rotated keys, values, and the keys as cached."""
        c, n, frames = self.c, self.grid[0] * self.grid[1], self.c["chunk_frames"]
        if not stream.cache:
            return None
        out, have = [], stream.cache[0][0].shape[1] // n
        drop = max(0, have + frames - c["window"]) if c["window"] > 0 else 0
        for k, v in stream.cache:
            if drop:
                k, v = (torch.cat([t[:, :c["sink"] * n], t[:, (c["sink"] + drop) * n:]], 1) for t in (k, v))
            turned = self.rotate(k, self.rotation(0, have - drop)) if c["relative"] else k
            out.append((turned, v, k))
        return out

    def forward(self, stream, past, latent, step, sparse=None, pending=None):
        """latent [B, F, Z, H, W] -> flow.  pending: a list that takes the new keys and values for the cache."""
        w, c = self.w, self.c
        b, frames, z, height, width = latent.shape
        n = self.grid[0] * self.grid[1]
        p = latent.view(b, frames, z, self.grid[0], 2, self.grid[1], 2).permute(0, 1, 3, 5, 2, 4, 6)
        x = F.linear(p.reshape(b, -1, z * 4), w["patch_embedding.weight"].flatten(1), w["patch_embedding.bias"])
        mod, t = self.time(step)
        norm = lambda y, s, g: F.layer_norm(y, y.shape[-1:], eps=1e-6) * (1 + g) + s
        before = past[0][0].shape[1] // n if past else 0
        here = self.rotation(before if c["relative"] else stream.frames, frames)
        kept = []
        for i in range(c["layers"]):
            a = f"blocks.{i}.self_attn."
            e = w[f"blocks.{i}.modulation"][0] + mod
            y = norm(x, e[0], e[1])
            q = self.rotate(self.heads(self.rms(self.linear(y, a + "q"), w[a + "norm_q.weight"])), here)
            k0 = self.heads(self.rms(self.linear(y, a + "k"), w[a + "norm_k.weight"]))
            v0 = self.heads(self.linear(y, a + "v"))
            k, v = self.rotate(k0, here), v0
            if past:
                k, v = torch.cat([past[i][0], k], 1), torch.cat([past[i][1], v], 1)
            if pending is not None:
                new = k0 if c["relative"] else k[:, before * n:]
                pending.append(tuple(torch.cat([old, new], 1) for old, new in ((past[i][2], new), (past[i][1], v0)))
                               if past else (new, v0))
            mask = None
            if sparse and past:
                mask, share, seen = self.select(q, k, sparse, stream.frames // frames)
                kept.append(share)
                if stream.trace is not None:
                    stream.trace.append((stream.frames // frames, i, seen[0]))
            y = attend(q, k, v, mask).flatten(2)
            x = x + self.linear(y, a + "o") * e[2]
            y = F.layer_norm(x, x.shape[-1:], w[f"blocks.{i}.norm3.weight"], w[f"blocks.{i}.norm3.bias"], 1e-6)
            a = f"blocks.{i}.cross_attn."
            q = self.heads(self.rms(self.linear(y, a + "q"), w[a + "norm_q.weight"]))
            x = x + self.linear(attend(q, *stream.text[i]).flatten(2), a + "o")
            y = norm(x, e[3], e[4])
            y = self.linear(F.gelu(self.linear(y, f"blocks.{i}.ffn.0"), approximate="tanh"), f"blocks.{i}.ffn.2")
            x = x + y * e[5]
        if kept:
            stream.kept.append((torch.stack(kept).mean(), before + frames))
        e = w["head.modulation"][0] + t
        x = self.linear(norm(x, e[0], e[1]), "head.head")
        x = x.view(b, frames, *self.grid, 2, 2, z).permute(0, 1, 6, 2, 4, 3, 5)
        return x.reshape(b, frames, z, height, width)

    def sparsity(self, s, chunk):
        """Of a chunk after the first: growing, or as listed under "uniform"."""
        if s.get("uniform"):
            return s["uniform"][chunk]
        return reference.chunk_sparsity(chunk, self.c["chunk_frames"], s["total_frames"], s["target"], s["base"],
                                        self.c["window"])

    def select(self, q, k, sparse, chunk):
        """reference.select_blocks for a batch -> mask [B, h, Lq, Lk], share of pairs kept, frames seen [B, h, q, f]."""
        n = self.grid[0] * self.grid[1]
        s, sparsity = sparse, self.sparsity(sparse, chunk)
        bq, bk = s["block_q"], s["block_k"]
        frames = k.shape[1] // n
        past = frames - q.shape[1] // n
        qp = pooled(q[:, None], bq)[:, :, 0]                                # [B, h, q blocks, d]
        kp = pooled(k.unflatten(1, (frames, n)), bk)                        # [B, h, frames, blocks of a frame, d]
        each = kp.shape[3]
        score = qp @ kp.flatten(2, 3).transpose(2, 3)
        frame = torch.arange(frames, device=k.device)
        seen = torch.ones(*score.shape[:3], frames, dtype=torch.bool, device=k.device)
        if past > s["keep_frames"]:
            sink, near = s["keep_sink"], s["keep_near"]
            seen[:] = (frame >= past) | (frame < sink) | (frame >= past - near)
            want = s["keep_frames"] - sink - near
            if want:
                middle = k[:, sink * n:(past - near) * n].unflatten(1, (-1, n)).mean(2).transpose(1, 2)
                picked = (qp @ middle.transpose(2, 3)).topk(want, -1).indices + sink
                seen.scatter_(3, picked, True)
        candidate = seen.repeat_interleave(each, 3)
        blocks = frames * each
        most = min(frames, s["keep_frames"] + frames - past) * each
        count = max(1, min(int((1 - sparsity) * blocks), most))
        chosen = score.masked_fill(~candidate, -math.inf).topk(count, -1).indices
        mask = torch.zeros_like(candidate).scatter_(-1, chosen, True)
        share = (mask * lengths_of(n, bk, k.device).repeat(frames)).sum(-1).mean() / (frames * n)
        # Sizes of blocks are known here: giving them spares a wait for the device.
        wide = mask.repeat_interleave(bq, 2)[:, :, :q.shape[1]]
        wide = wide.unflatten(3, (frames, each)).repeat_interleave(bk, 4)[..., :n].flatten(3)
        return wide, share, seen

    def sample(self, stream, past, noises, sparse=None):
        """The few-step sampler on one chunk; noises: one [B, F, Z, H, W] per step."""
        x = noises[0]
        for j, step in enumerate(self.steps):
            s = reference.sigma_of(step, self.shift)
            clean = x - s * self.forward(stream, past, x, s * 1000, sparse)
            if j + 1 < len(self.steps):
                s = reference.sigma_of(self.steps[j + 1], self.shift)
                x = (1 - s) * clean + s * noises[j + 1]
        return clean

    def advance(self, stream, past, clean, sparse=None):
        """The pass at timestep 0 that writes a finished chunk to the stream's cache."""
        pending = []
        self.forward(stream, past, clean, 0.0, sparse, pending)
        window, sink, here = self.c["window"], self.c["sink"], clean.shape[1]
        old, drop = stream.numbers, len(stream.numbers) + here - window
        if window > 0 and drop > 0:
            old = old[:sink] + old[sink + drop:]
        stream.numbers = old + list(range(stream.frames, stream.frames + here))
        stream.cache, stream.frames = pending, stream.frames + here

    def chunk(self, stream, noises, sparse=None):
        past = self.past(stream)
        clean = self.sample(stream, past, noises, sparse)
        self.advance(stream, past, clean, sparse)
        return clean


def attend(q, k, v, mask=None):
    """Attention over [B, L, h, d]; in half precision on a GPU."""
    half = torch.float16 if q.is_cuda else q.dtype
    q, k, v = (t.transpose(1, 2).to(half) for t in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).float()


def pooled(x, block):
    """[B, f, n, h, d] -> [B, h, f, blocks, d]: means of consecutive blocks of the n, the last may be short."""
    n = x.shape[2]
    count = -(-n // block)
    x = F.pad(x, (0, 0, 0, 0, 0, count * block - n)).unflatten(2, (count, block)).sum(3)
    return (x / lengths_of(n, block, x.device).view(-1, 1, 1)).permute(0, 3, 1, 2, 4)


@functools.lru_cache(None)
def lengths_of(n, block, device):
    return torch.tensor([float(min(block, n - i)) for i in range(0, n, block)], device=device)


class Decoder:
    """The tiny decoder for batches, a piece of a stream at a time."""

    def __init__(self, w, device):
        half = torch.float16 if torch.device(device).type == "cuda" else torch.float32
        self.w = {k: v.to(device, half) for k, v in w.items()}
        self.half, self.last = half, max(int(k.split(".")[1]) for k in w if k.startswith("decoder."))

    def conv(self, x, name):
        w = self.w[name + ".weight"]
        y = F.conv2d(x.flatten(0, 1), w, self.w.get(name + ".bias"), padding=w.shape[-1] // 2)
        return y.unflatten(0, x.shape[:2])

    def __call__(self, latents, memory):
        """Latents [B, T, Z, h, w] -> pictures in [0, 1] and the memory for what follows; memory {}: a beginning."""
        w, new = self.w, {"going": True}
        x = torch.tanh(latents.to(self.half) / 3) * 3
        for i in range(1, self.last + 1):
            p = f"decoder.{i}."
            if p + "conv.0.weight" in w:
                past = torch.cat([memory.get(p, torch.zeros_like(x[:, :1])), x[:, :-1]], 1)
                new[p] = x[:, -1:]
                y = torch.cat([x, past], 2)
                for j in (0, 2, 4):
                    y = self.conv(y, f"{p}conv.{j}")
                    y = F.relu(y) if j < 4 else y
                x = F.relu(y + (self.conv(x, p + "skip") if p + "skip.weight" in w else x))
            elif p + "conv.weight" in w:
                c = x.shape[2]
                x = self.conv(x, p + "conv")
                x = x[:, :, -c:] if i == 7 else x.unflatten(2, (-1, c)).flatten(1, 2)
            elif p + "weight" in w:
                x = self.conv(x, f"decoder.{i}")
            elif i == 2 or i == self.last - 1:
                x = F.relu(x)
            else:
                x = F.interpolate(x.flatten(0, 1), scale_factor=2, mode="nearest").unflatten(0, x.shape[:2])
        x = x.clamp(0, 1)
        return (x if "going" in memory else x[:, 3:]), new


@torch.no_grad()
def check(path, chunks=4):
    """Hold this against the plain definition on the CPU, densely and with both kinds of sparse attention.

    Four chunks, so that the window overflows once and frames are selected.
    """
    model = Model(path, "cpu")
    prompts = ["a red ball bouncing on green hills", "a boat on the sea at night"]
    packed = dict(model.config.get("sparse") or DEFAULT_SPARSE)
    cases = {"dense": None, "packed": packed, "0.9, two stages": dict(packed, target=0.9, base=0.95),
             "0.9, one stage": dict(packed, target=0.9, base=0.95, keep_frames=10 ** 6)}
    worst = 0
    for name, sparse in cases.items():
        noise = torch.Generator().manual_seed(5)
        stream, ours, plain = model.start(prompts), [], []
        pictures, memory = [], {}
        generators = []
        for text in model.embed(prompts):
            generators.append(reference.Generator(model.host[0], dict(model.c, sparse=sparse)))
            generators[-1].set_text(text)
        decoder = reference.TinyDecoder(model.host[2])
        for _ in range(chunks):
            noises = [torch.randn(2, *model.shape, generator=noise) for _ in model.steps]
            ours.append(model.chunk(stream, noises, sparse))
            plain.append(torch.stack([g.chunk([x[i] for x in noises], model.steps, model.shift)
                                      for i, g in enumerate(generators)]))
            # One flipped block makes another stream of it: go on from the same past.
            stream.cache = [tuple(torch.stack([g.cache[i][j] for g in generators]) for j in range(2))
                            for i in range(model.c["layers"])]
            picture, memory = model.decoder(plain[-1], memory)
            pictures.append((picture[0] - decoder.decode(plain[-1][0])).abs().max().item())
        error = [(p - o).abs().max().item() for p, o in zip(plain, ours)]
        print(f"{name:16} largest difference of latents by chunk " + " ".join(f"{e:.1e}" for e in error)
              + f", of pictures {max(pictures):.1e}")
        worst = max(worst, *error, *pictures)
    assert worst < 1e-2, "differs from reference.py"


DEFAULT_SPARSE = dict(target=0.5, base=0.6, total_frames=63, block_q=32, block_k=32,
                      keep_frames=3, keep_sink=1, keep_near=1)
