"""The plain definition of what the core computes, one stream at a time.

Weights are flat dicts of tensors under the key names of the published
checkpoints (Wan 2.1, UMT5, TAEHV).  tests/data/make_golden.py records what it
makes of small random models, golden.py what it makes of the default one;
sample.py runs a packed file through it, check_nets.py holds the batched training
code against it.

Shapes: F latent frames in one chunk, d head width, h heads, Z latent channels.
"""
import math

import torch
import torch.nn.functional as F


# ---------------------------------------------------------------- text encoder
def t5_bucket(distance, buckets=32, max_distance=128):
    """Bidirectional T5 bucket of key_position - query_position (any int tensor)."""
    half = buckets // 2
    side = (distance > 0).long() * half
    distance = distance.abs()
    exact = half // 2
    far = exact + (torch.log(distance.float().clamp(min=1) / exact)
                   / math.log(max_distance / exact) * (half - exact)).long()
    far = far.clamp(max=half - 1)
    return side + torch.where(distance < exact, distance, far)


def t5_encode(w, ids, length, heads, layers):
    """ids [T] (padded), length = real tokens -> [T, dim], rows >= length zeroed.

    UMT5: each layer owns its relative-position table, attention is unscaled,
    the feed-forward is gated tanh-GELU, norms are RMS with eps 1e-6.
    """
    rms = lambda x, g: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * g
    x = w["token_embedding.weight"][ids]
    n = len(ids)
    pos = torch.arange(n)
    bucket = t5_bucket(pos[None, :] - pos[:, None])
    for i in range(layers):
        p = f"blocks.{i}."
        y = rms(x, w[p + "norm1.weight"])
        q, k, v = (F.linear(y, w[p + f"attn.{m}.weight"]).view(n, heads, -1).transpose(0, 1)
                   for m in "qkv")
        score = q @ k.transpose(1, 2) + w[p + "pos_embedding.embedding.weight"][bucket].permute(2, 0, 1)
        score[:, :, length:] = torch.finfo(score.dtype).min
        y = (score.softmax(-1) @ v).transpose(0, 1).reshape(n, -1)
        x = x + F.linear(y, w[p + "attn.o.weight"])
        y = rms(x, w[p + "norm2.weight"])
        gate = F.gelu(F.linear(y, w[p + "ffn.gate.0.weight"]), approximate="tanh")
        x = x + F.linear(F.linear(y, w[p + "ffn.fc1.weight"]) * gate, w[p + "ffn.fc2.weight"])
    x = rms(x, w["norm.weight"])
    x[length:] = 0
    return x


# ------------------------------------------------------------------- scheduler
def sigma_of(step, shift=5.0):
    """Flow-matching noise level of a nominal step in [0, 1000] after time shift."""
    s = step / 1000.0
    return shift * s / (1 + (shift - 1) * s)


def chunk_sparsity(chunk, chunk_frames, total_frames, target, base, window=-1):
    """Chunk-Aware Growth: sparsity of chunk number `chunk`; chunk 0 is dense.

    s_i = base - beta / sqrt(frames up to and including chunk i).  beta makes the
    attention cost of chunks 1.. of a total_frames long video equal that of a
    uniform `target`; a longer stream goes on along the same curve.  window
    limits the visible frames (-1: all).
    """
    if chunk == 0:
        return 0.0
    ends = range(2 * chunk_frames, total_frames + 1, chunk_frames)
    visible = [e if window < 0 else min(e, window) for e in ends]
    weight = sum(v / math.sqrt(e) for e, v in zip(ends, visible))
    beta = (base - target) * sum(visible) / weight if weight else 0.0
    return base - beta / math.sqrt((chunk + 1) * chunk_frames)


# ------------------------------------------------- hierarchical sparse attention
def block_lengths(tokens, block):
    """[block, block, ..., rest]: sizes of the blocks that cover `tokens`."""
    return [min(block, tokens - i) for i in range(0, tokens, block)]


def key_block_lengths(tokens, frame_tokens, block):
    """Key blocks never straddle frames: each frame is cut anew, its last block may be short."""
    return block_lengths(frame_tokens, block) * (tokens // frame_tokens)


def pool(x, lengths):
    """[L, h, d] -> [h, blocks, d] means of consecutive blocks."""
    return torch.stack([part.mean(0) for part in x.split(lengths)]).transpose(0, 1)


def select_blocks(q, k, sparsity, frame_tokens, block_q, block_k,
                  keep_frames, keep_sink, keep_near):
    """Key blocks each query block attends to: bool [h, q_blocks, k_blocks].

    q [Lq, h, d] is the current chunk, k [Lk, h, d] all visible keys, the chunk's
    own last.  Query blocks run through the chunk, key blocks start anew in each
    frame.  No past: everything.  Past <= keep_frames: top blocks of all.
    Otherwise two stages: pick keep_frames - keep_sink - keep_near past frames by
    pooled score between the sink and near frames, then top blocks among sink,
    near, picked and current.  The budget is always a share of all blocks.
    """
    n, past = frame_tokens, (len(k) - len(q)) // frame_tokens
    qp = pool(q, block_lengths(len(q), block_q))
    kp = pool(k, key_block_lengths(len(k), n, block_k))
    heads, nq, nk = qp.shape[0], qp.shape[1], kp.shape[1]
    if past == 0:
        return torch.ones(heads, nq, nk, dtype=torch.bool)
    score = qp @ kp.transpose(1, 2)
    candidate = torch.ones(heads, nq, nk, dtype=torch.bool)
    if past > keep_frames:
        frame = torch.arange(nk) // (nk * n // len(k))
        candidate[:] = (frame >= past) | (frame < keep_sink) | (frame >= past - keep_near)
        want = keep_frames - keep_sink - keep_near
        if want:
            middle = pool(k[keep_sink * n:(past - keep_near) * n], n)
            picked = (qp @ middle.transpose(1, 2)).topk(want, -1).indices + keep_sink
            candidate |= (frame == picked[..., None]).any(2)
    count = max(1, min(int((1 - sparsity) * nk), int(candidate[0, 0].sum())))
    chosen = score.masked_fill(~candidate, -math.inf).topk(count, -1).indices
    return torch.zeros_like(candidate).scatter_(-1, chosen, True)


def attention(q, k, v, blocks=None, q_lengths=None, k_lengths=None):
    """[Lq,h,d] x [Lk,h,d] -> [Lq,h,d]; softmax over the chosen key blocks only."""
    q, k, v = (x.transpose(0, 1) for x in (q, k, v))
    score = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    if blocks is not None:
        mask = blocks.repeat_interleave(torch.tensor(q_lengths), 1)
        mask = mask.repeat_interleave(torch.tensor(k_lengths), 2)
        score = score.masked_fill(~mask, -math.inf)
    return (score.softmax(-1) @ v).transpose(0, 1)


# ------------------------------------------------------------ causal transformer
def rope_angles(frames, height, width, d, start_frame):
    """Angles [frames*height*width, d/2] (float64): time, row, column sections."""
    c = d // 2
    sections = (c - 2 * (c // 3), c // 3, c // 3)
    grids = torch.meshgrid(torch.arange(start_frame, start_frame + frames),
                           torch.arange(height), torch.arange(width), indexing="ij")
    parts = []
    for size, grid in zip(sections, grids):
        inv = 1.0 / 10000 ** (torch.arange(size, dtype=torch.float64) / size)
        parts.append(grid.reshape(-1, 1).double() * inv)
    return torch.cat(parts, 1)


def rope(x, angles):
    """Rotate interleaved pairs of x [L, h, d]."""
    even, odd = x[..., 0::2].double(), x[..., 1::2].double()
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2).to(x.dtype)


class Generator:
    """Causal Wan transformer with a key/value cache, one chunk at a time.

    config: dim, heads, layers, ffn_dim, freq_dim, text_len, latent channels z,
    chunk_frames; window (frames kept, -1 all), sink (frames never evicted);
    relative (True: keys cached before rotation and rotated by their place in
    the window - long video; False: rotated by absolute frame - short video);
    sparse: None or dict(target, base, total_frames, block_q, block_k,
    keep_frames, keep_sink, keep_near).
    """

    def __init__(self, w, config):
        self.w, self.c = w, config
        self.cache = [None] * config["layers"]
        self.frames_done = 0
        self.trace = None  # set to a list to record selected blocks

    def set_text(self, embedding):
        """embedding [T, text_dim], zero rows for padding; T <= text_len."""
        w, c = self.w, self.c
        x = F.pad(embedding, (0, 0, 0, c["text_len"] - len(embedding)))
        x = F.linear(x, w["text_embedding.0.weight"], w["text_embedding.0.bias"])
        self.text = F.linear(F.gelu(x, approximate="tanh"),
                             w["text_embedding.2.weight"], w["text_embedding.2.bias"])

    def _linear(self, x, name):
        return F.linear(x, self.w[name + ".weight"], self.w[name + ".bias"])

    def _heads(self, x):
        return x.view(len(x), self.c["heads"], -1)

    def _rms(self, x, name):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.w[name + ".weight"]

    def _self_attention(self, x, i, grid):
        c, p = self.c, f"blocks.{i}.self_attn."
        frames, height, width = grid
        n = height * width
        d = c["dim"] // c["heads"]
        q = self._heads(self._rms(self._linear(x, p + "q"), p + "norm_q"))
        k = self._heads(self._rms(self._linear(x, p + "k"), p + "norm_k"))
        v = self._heads(self._linear(x, p + "v"))
        relative, window, sink = c.get("relative", False), c.get("window", -1), c.get("sink", 0)
        if not relative:
            here = rope_angles(frames, height, width, d, self.frames_done)
            q, k = rope(q, here), rope(k, here)
        old_k, old_v = self.cache[i] if self.cache[i] is not None else (k[:0], v[:0])
        if window > 0 and len(old_k) + len(k) > window * n:
            drop = len(old_k) + len(k) - window * n
            keep = lambda t: torch.cat([t[:sink * n], t[sink * n + drop:]])
            old_k, old_v = keep(old_k), keep(old_v)
        keys, values = torch.cat([old_k, k]), torch.cat([old_v, v])
        self.pending[i] = (keys, values)
        if relative:
            total = len(keys) // n
            keys = rope(keys, rope_angles(total, height, width, d, 0))
            q = rope(q, rope_angles(frames, height, width, d, total - frames))
        blocks, lengths = None, ()
        s = c.get("sparse")
        if s:
            sparsity = chunk_sparsity(self.frames_done // c["chunk_frames"], c["chunk_frames"],
                                      s["total_frames"], s["target"], s["base"], window)
            blocks = select_blocks(q, keys, sparsity, n, s["block_q"], s["block_k"],
                                   s["keep_frames"], s["keep_sink"], s["keep_near"])
            if self.trace is not None:
                self.trace.append(blocks)
            lengths = block_lengths(len(q), s["block_q"]), key_block_lengths(len(keys), n, s["block_k"])
        y = attention(q, keys, values, blocks, *lengths)
        return self._linear(y.flatten(1), p + "o")

    def _cross_attention(self, x, i):
        p = f"blocks.{i}.cross_attn."
        q = self._heads(self._rms(self._linear(x, p + "q"), p + "norm_q"))
        k = self._heads(self._rms(self._linear(self.text, p + "k"), p + "norm_k"))
        v = self._heads(self._linear(self.text, p + "v"))
        return self._linear(attention(q, k, v).flatten(1), p + "o")

    def forward(self, latent, timestep):
        """latent [F, Z, H, W], timestep float -> predicted flow, same shape."""
        w, c = self.w, self.c
        frames, z, H, W = latent.shape
        height, width = H // 2, W // 2
        self.pending = [None] * c["layers"]
        patches = latent.view(frames, z, height, 2, width, 2).permute(0, 2, 4, 1, 3, 5)
        x = F.linear(patches.reshape(-1, z * 4), w["patch_embedding.weight"].flatten(1),
                     w["patch_embedding.bias"])
        half = c["freq_dim"] // 2
        angle = timestep * 10000 ** (-torch.arange(half, dtype=torch.float64) / half)
        t = torch.cat([angle.cos(), angle.sin()]).to(x.dtype)
        t = self._linear(F.silu(self._linear(t, "time_embedding.0")), "time_embedding.2")
        mod = self._linear(F.silu(t), "time_projection.1").view(6, -1)
        norm = lambda y: F.layer_norm(y, y.shape[-1:], eps=1e-6)
        for i in range(c["layers"]):
            p = f"blocks.{i}."
            e = w[p + "modulation"][0] + mod
            y = self._self_attention(norm(x) * (1 + e[1]) + e[0], i, (frames, height, width))
            x = x + y * e[2]
            y = F.layer_norm(x, x.shape[-1:], w[p + "norm3.weight"], w[p + "norm3.bias"], 1e-6)
            x = x + self._cross_attention(y, i)
            y = norm(x) * (1 + e[4]) + e[3]
            y = self._linear(F.gelu(self._linear(y, p + "ffn.0"), approximate="tanh"), p + "ffn.2")
            x = x + y * e[5]
        e = w["head.modulation"][0] + t
        x = self._linear(norm(x) * (1 + e[1]) + e[0], "head.head")
        x = x.view(frames, height, width, 2, 2, z).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(frames, z, H, W)

    def chunk(self, noises, steps=(1000, 750, 500, 250), shift=5.0):
        """noises: one [F,Z,H,W] per step -> clean latent; commits the cache."""
        x = noises[0]
        for j, step in enumerate(steps):
            s = sigma_of(step, shift)
            clean = x - s * self.forward(x, s * 1000)
            if j + 1 < len(steps):
                s = sigma_of(steps[j + 1], shift)
                x = (1 - s) * clean + s * noises[j + 1]
        self.forward(clean, 0.0)          # clean pass writes the cache
        self.cache = self.pending
        self.frames_done += len(clean)
        return clean


# ---------------------------------------------------------------- video decoder
LATENT_MEAN = [-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
               0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921]
LATENT_STD = [2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
              3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160]


class Decoder:
    """Streaming causal 3-D convolutional decoder (Wan VAE and its pruned kin).

    Feed latents in order, any number at a time: the first latent frame of a
    stream gives 1 picture, every later one 4.  State is the last two input
    frames of every temporal convolution.
    """

    def __init__(self, w):
        self.w, self.past, self.first = w, {}, True

    def _conv(self, x, name):
        """Causal convolution over [T, C, H, W]; a 1x1x1 kernel needs no history."""
        w, b = self.w[name + ".weight"], self.w[name + ".bias"]
        if w.dim() == 4:
            return F.conv2d(x, w, b, padding=w.shape[-1] // 2)
        kt = w.shape[2]
        if kt > 1:
            past = self.past.get(name, x.new_zeros(kt - 1, *x.shape[1:]))
            x = torch.cat([past, x])
            self.past[name] = x[-(kt - 1):]
        pad = w.shape[-1] // 2
        return F.conv3d(x.transpose(0, 1)[None], w, b, padding=(0, pad, pad))[0].transpose(0, 1)

    def _norm(self, x, name):
        return F.normalize(x, dim=1) * x.shape[1] ** 0.5 * self.w[name + ".gamma"].view(-1, 1, 1)

    def _residual(self, x, p):
        y = self._conv(F.silu(self._norm(x, p + "residual.0")), p + "residual.2")
        y = self._conv(F.silu(self._norm(y, p + "residual.3")), p + "residual.6")
        return y + (self._conv(x, p + "shortcut") if p + "shortcut.weight" in self.w else x)

    def _attend(self, x, p):
        t, c, h, w = x.shape
        q, k, v = self._conv(self._norm(x, p + "norm"), p + "to_qkv").flatten(2).transpose(1, 2).chunk(3, -1)
        y = (q @ k.transpose(1, 2) / math.sqrt(c)).softmax(-1) @ v
        return x + self._conv(y.transpose(1, 2).reshape(t, c, h, w), p + "proj")

    def _upsample(self, x, p):
        if p + "time_conv.weight" in self.w and not self.first:
            y = self._conv(x, p + "time_conv")
            x = y.view(len(x), 2, -1, *x.shape[2:]).flatten(0, 1)
        x = F.interpolate(x, scale_factor=2, mode="nearest")
        return self._conv(x, p + "resample.1")

    def frame(self, latent):
        """One latent frame [Z, H, W] -> pictures [1 or 4, 3, 8H, 8W] in [-1, 1]."""
        z = len(latent)
        scale, shift = (torch.tensor(t[:z]).view(-1, 1, 1) for t in (LATENT_STD, LATENT_MEAN))
        x = self._conv((latent * scale + shift)[None], "conv2")
        x = self._conv(x, "decoder.conv1")
        x = self._residual(x, "decoder.middle.0.")
        x = self._attend(x, "decoder.middle.1.")
        x = self._residual(x, "decoder.middle.2.")
        i = 0
        while any(k.startswith(f"decoder.upsamples.{i}.") for k in self.w):
            p = f"decoder.upsamples.{i}."
            x = self._upsample(x, p) if p + "resample.1.weight" in self.w else self._residual(x, p)
            i += 1
        x = self._conv(F.silu(self._norm(x, "decoder.head.0")), "decoder.head.2")
        self.first = False
        return x.clamp(-1, 1)

    def decode(self, latents):
        return torch.cat([self.frame(z) for z in latents])


# -------------------------------------------------------------- picture encoder
def encode_picture(w, picture):
    """Picture [3, H, W] in [0, 1] -> the first latent frame [Z, H/8, W/8] of a stream.

    A latent frame is made of four pictures; the first one of a stream stands for all of its.
    """
    def conv(x, name, **how):
        return F.conv2d(x, w[name + ".weight"], w[name + ".bias"], **how)

    def residual(x, name):
        return x + conv(F.silu(conv(x, name + ".0", padding=1)), name + ".2", padding=1)

    x = F.pixel_unshuffle(picture.repeat(4, 1, 1)[None] * 2 - 1, 2)
    x = F.silu(conv(x, "stem", padding=1))
    x = residual(F.silu(conv(x, "down1", stride=2, padding=1)), "body1.0")
    x = residual(F.silu(conv(x, "down2", stride=2, padding=1)), "body2.0")
    return conv(residual(x, "body2.1"), "out")[0]


# ----------------------------------------------------------- tiny video decoder
class TinyDecoder:
    """TAEHV (taew2_1): 2-D convolutions with one frame of memory per block.

    Every latent frame gives 4 pictures in [0, 1]; the first 3 of a stream are
    dropped.  Latents enter as the generator made them (no mean/std).
    """

    def __init__(self, w):
        self.w, self.memory, self.first = w, {}, True
        self.last = max(int(k.split(".")[1]) for k in w if k.startswith("decoder."))

    def _conv(self, x, name):
        w = self.w[name + ".weight"]
        return F.conv2d(x, w, self.w.get(name + ".bias"), padding=w.shape[-1] // 2)

    def _memory_block(self, x, p):
        past = torch.cat([self.memory.get(p, torch.zeros_like(x[:1])), x[:-1]])
        self.memory[p] = x[-1:]
        y = torch.cat([x, past], 1)
        for j in (0, 2, 4):
            y = self._conv(y, f"{p}conv.{j}")
            y = F.relu(y) if j < 4 else y
        return F.relu(y + (self._conv(x, p + "skip") if p + "skip.weight" in self.w else x))

    def frame(self, latent):
        x = torch.tanh(latent[None] / 3) * 3
        w = self.w
        for i in range(1, self.last + 1):
            p = f"decoder.{i}."
            if p + "conv.0.weight" in w:
                x = self._memory_block(x, p)
            elif p + "conv.weight" in w:                        # 1x1: grow in time
                c = x.shape[1]
                x = self._conv(x, p + "conv")
                if i == 7:                                      # no growth here: newest frame
                    x = x[:, -c:]
                x = x.reshape(-1, c, *x.shape[2:])
            elif p + "weight" in w:
                x = self._conv(x, f"decoder.{i}")
            elif i == 2 or i == self.last - 1:                  # the two plain ReLUs
                x = F.relu(x)
            else:                                               # the three Upsamples
                x = F.interpolate(x, scale_factor=2, mode="nearest")
        x = x.clamp(0, 1)
        x = x[3:] if self.first else x
        self.first = False
        return x

    def decode(self, latents):
        return torch.cat([self.frame(z) for z in latents])
