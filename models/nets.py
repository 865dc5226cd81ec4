"""The networks, batched and differentiable.

Parameter names are those of the published checkpoints (Wan 2.1, UMT5, TAEHV), so
a state dict is already a model file.  check_nets.py compares every network with
the plain definition in reference.py.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

import reference

CONFIG = dict(
    transformer=dict(dim=256, heads=4, layers=8, ffn_dim=1024, freq_dim=256, text_dim=128,
                     text_len=64, z=16, chunk_frames=3),
    text_encoder=dict(dim=128, heads=4, layers=4, ffn_dim=256),
    sampling=dict(steps=[1000, 600, 350, 150], shift=5.0),
    cache=dict(window=9, sink=1, relative=True),
    sparse=dict(target=0.5, base=0.6, total_frames=63, block_q=32, block_k=32,
                keep_frames=3, keep_sink=1, keep_near=1),
    video=dict(width=256, height=160, framerate=[16, 1]),
)
DECODER_WIDTH = (64, 48, 16, 16)
GRID = (20, 32)  # latent height, width


def level_of(step, shift=5.0):
    """Flow-matching noise level of a nominal step."""
    s = step / 1000.0
    return shift * s / (1 + (shift - 1) * s)


LEVELS = [level_of(s, CONFIG["sampling"]["shift"]) for s in CONFIG["sampling"]["steps"]]


# ---------------------------------------------------------------- text encoder
class TextBlock(nn.Module):
    def __init__(self, dim, heads, ffn):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = RMSNorm(dim), RMSNorm(dim)
        self.attn = nn.ModuleDict({m: nn.Linear(dim, dim, bias=False) for m in "qkvo"})
        self.pos_embedding = nn.ModuleDict(dict(embedding=nn.Embedding(32, heads)))
        self.ffn = nn.ModuleDict(dict(
            gate=nn.Sequential(nn.Linear(dim, ffn, bias=False)),
            fc1=nn.Linear(dim, ffn, bias=False), fc2=nn.Linear(ffn, dim, bias=False)))

    def forward(self, x, bucket, hidden):
        b, n, _ = x.shape
        y = self.norm1(x)
        q, k, v = (self.attn[m](y).view(b, n, self.heads, -1).transpose(1, 2) for m in "qkv")
        bias = self.pos_embedding["embedding"](bucket).permute(2, 0, 1)[None] + hidden
        # UMT5 attention is unscaled.
        y = F.scaled_dot_product_attention(q, k, v, bias.to(q.dtype), scale=1.0)
        x = x + self.attn["o"](y.transpose(1, 2).reshape(b, n, -1))
        y = self.norm2(x)
        gate = F.gelu(self.ffn["gate"](y), approximate="tanh")
        return x + self.ffn["fc2"](self.ffn["fc1"](y) * gate)


class TextEncoder(nn.Module):
    """UMT5-shaped: each layer owns its table of relative positions."""

    def __init__(self, vocab, dim, heads, layers, ffn_dim):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab, dim)
        self.blocks = nn.ModuleList(TextBlock(dim, heads, ffn_dim) for _ in range(layers))
        self.norm = RMSNorm(dim)
        for block in self.blocks:
            nn.init.normal_(block.attn["q"].weight, std=dim ** -0.5 * (dim / heads) ** -0.5)
            nn.init.normal_(block.pos_embedding["embedding"].weight, std=0.1)

    def forward(self, ids):
        """ids [B, T], padded with 0 -> [B, T, dim], rows of padding zero."""
        n = ids.shape[1]
        pos = torch.arange(n, device=ids.device)
        bucket = relative_bucket(pos[None, :] - pos[:, None])
        real = ids != 0
        hidden = torch.zeros(len(ids), 1, 1, n, device=ids.device).masked_fill(~real[:, None, None], -1e9)
        x = self.token_embedding(ids)
        for block in self.blocks:
            x = block(x, bucket, hidden)
        return self.norm(x) * real[..., None]


def relative_bucket(distance, buckets=32, max_distance=128):
    """Bidirectional T5 bucket of key position minus query position."""
    half = buckets // 2
    side = (distance > 0).long() * half
    distance = distance.abs()
    exact = half // 2
    far = exact + (torch.log(distance.float().clamp(min=1) / exact)
                   / math.log(max_distance / exact) * (half - exact)).long()
    return side + torch.where(distance < exact, distance, far.clamp(max=half - 1))


class RMSNorm(nn.Module):
    def __init__(self, dim, scale=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.full((dim,), float(scale)))

    def forward(self, x):
        y = x.float()
        return (y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight).to(x.dtype)


# ------------------------------------------------------------ causal transformer
def rope_table(frames, height, width, d):
    """cos and sin [frames*height*width, d/2]: time, row and column sections."""
    c = d // 2
    sections = (c - 2 * (c // 3), c // 3, c // 3)
    grids = torch.meshgrid(*(torch.arange(n) for n in (frames, height, width)), indexing="ij")
    angle = torch.cat([g.reshape(-1, 1).double() * (1e4 ** (-torch.arange(n, dtype=torch.float64) / n))
                       for n, g in zip(sections, grids)], 1)
    return angle.cos().float(), angle.sin().float()


def rotate(x, cos, sin):
    """Rotate interleaved pairs of x [B, L, h, d] by [L, d/2]."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2).to(x.dtype)


class Attention(nn.Module):
    def __init__(self, dim, heads):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(dim, dim) for _ in range(4))
        self.norm_q, self.norm_k = RMSNorm(dim), RMSNorm(dim)

    def key_value(self, x):
        return (self.norm_k(self.k(x)).unflatten(-1, (self.heads, -1)),
                self.v(x).unflatten(-1, (self.heads, -1)))


def attend(q, k, v, mask=None):
    y = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), mask)
    return y.transpose(1, 2).flatten(2)


def select_blocks(q, k, sparsity, past):
    """reference.select_blocks for a batch: q [N, L, h, d], k [N, K, h, d], sparsity [N] ->
    which keys a query may see, bool [N, h, L, K].  past: frames before the chunk, at least 1."""
    c = CONFIG["sparse"]
    n, size, keep = GRID[0] * GRID[1] // 4, c["block_k"], c["keep_frames"]
    q, k = q.detach().float(), k.detach().float()
    qp = q.unflatten(1, (-1, c["block_q"])).mean(2).transpose(1, 2)
    kp = k.unflatten(1, (-1, size)).mean(2).transpose(1, 2)
    score = qp @ kp.transpose(2, 3)
    blocks = candidates = kp.shape[2]
    if past > keep:
        frame = torch.arange(blocks, device=q.device) // (n // size)
        sink, near = c["keep_sink"], c["keep_near"]
        want = keep - sink - near
        candidate = ((frame >= past) | (frame < sink) | (frame >= past - near)).expand_as(score)
        if want:
            middle = k[:, sink * n:(past - near) * n].unflatten(1, (-1, n)).mean(2).transpose(1, 2)
            picked = (qp @ middle.transpose(2, 3)).topk(want, -1).indices + sink
            candidate = candidate | (frame == picked[..., None]).any(3)
        score = score.masked_fill(~candidate, -math.inf)
        candidates = (keep + q.shape[1] // n) * (n // size)
    count = ((1 - sparsity.double()) * blocks).long().clamp(1, candidates)
    order = score.argsort(-1, descending=True)
    taken = torch.arange(blocks, device=q.device) < count[:, None]
    chosen = torch.zeros_like(score, dtype=torch.bool).scatter(-1, order, taken[:, None, None].expand_as(order))
    return chosen.repeat_interleave(c["block_q"], 2).repeat_interleave(size, 3)


def linear(p, name, x):
    return F.linear(x, p[name + ".weight"], p[name + ".bias"])


def normed(p, name, x, heads):
    """A projection, its norm over all heads, split into heads."""
    y = linear(p, name, x).float()
    part, which = name.split(".")
    y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6) * p[f"{part}.norm_{which}.weight"]
    return y.to(torch.get_autocast_dtype(x.device.type) if torch.is_autocast_enabled(x.device.type)
                else x.dtype).unflatten(-1, (heads, -1))


def finish(p, x, y, e, text_k, text_v):
    """Everything after self-attention.  x, y [B, m, L, C]; e [B, m, 6, 1, C]; text [B*m, T, h, d]."""
    x = x + linear(p, "self_attn.o", y) * e[:, :, 2]
    z = F.layer_norm(x, x.shape[-1:], p["norm3.weight"], p["norm3.bias"], 1e-6)
    q = normed(p, "cross_attn.q", z, text_k.shape[2]).flatten(0, 1)
    x = x + linear(p, "cross_attn.o", attend(q, text_k, text_v).unflatten(0, x.shape[:2]))
    z = F.gelu(linear(p, "ffn.0", modulated(x, e[:, :, 3], e[:, :, 4])), approximate="tanh")
    return x + linear(p, "ffn.2", z) * e[:, :, 5]


def teach_block(p, x, mod, text_k, text_v, cos, sin, slots, window, sink, sparsity=None):
    """One block in teacher forcing; a function of its tensors, so that it compiles once for all blocks.

    x [B, m, L, C]: the true chunks 0, 1, .. of a clip as they go into the cache, then one noisy
    chunk for each of `slots` (ascending), which says whose place it takes.  A true chunk serves
    all noisy ones after it.  sparsity [B, chunks]: None for dense attention.
    """
    e = (p["modulation"][0] + mod)[..., None, :]
    y = modulated(x, e[:, :, 0], e[:, :, 1])
    tokens, heads = x.shape[2], text_k.shape[2]
    per, clean = tokens // CONFIG["transformer"]["chunk_frames"], x.shape[1] - len(slots)
    q, k = normed(p, "self_attn.q", y, heads), normed(p, "self_attn.k", y, heads)
    v = linear(p, "self_attn.v", y).unflatten(-1, (heads, -1))
    out = [None] * x.shape[1]
    for i in range(max(slots) + 1):
        first = clean + slots.index(i) if i in slots else clean
        spans = [slice(i, i + 1)] * (i < clean) + [slice(first, first + slots.count(i))] * (i in slots)
        own = lambda t: torch.cat([t[:, s] for s in spans], 1)
        old_k, old_v = (past_of(t, i, window, sink, per) for t in (k, v))
        n = old_k.shape[1]
        here = cos[n:n + tokens], sin[n:n + tokens]
        oq, ok, ov = rotate(own(q), *here), rotate(own(k), *here), own(v)
        old_k = rotate(old_k, cos[:n], sin[:n])
        copies = ok.shape[1]
        keys, values = (torch.cat([old[:, None].expand(-1, copies, -1, -1, -1), new], 2).flatten(0, 1)
                        for old, new in ((old_k, ok), (old_v, ov)))
        mask = None
        if sparsity is not None and n:
            mask = select_blocks(oq.flatten(0, 1), keys, sparsity[:, i].repeat_interleave(copies), n // per)
        o = attend(oq.flatten(0, 1), keys, values, mask).unflatten(0, (-1, copies))
        for j, index in enumerate(index for s in spans for index in range(s.start, s.stop)):
            out[index] = o[:, j]
    return finish(p, x, torch.stack(out, 1), e, text_k, text_v)


def step_block(p, x, mod, text_k, text_v, cos, sin, old_k, old_v, sparsity=None):
    """One block, one chunk, with the cache: x [B, 1, L, C] -> output and the unrotated keys and values."""
    e = (p["modulation"][0] + mod)[..., None, :]
    y = modulated(x, e[:, :, 0], e[:, :, 1])[:, 0]
    heads = text_k.shape[2]
    q, k = normed(p, "self_attn.q", y, heads), normed(p, "self_attn.k", y, heads)
    v = linear(p, "self_attn.v", y).unflatten(-1, (heads, -1))
    keys, values = torch.cat([old_k, k], 1), torch.cat([old_v, v], 1)
    n, total = old_k.shape[1], keys.shape[1]
    q, keys = rotate(q, cos[n:total], sin[n:total]), rotate(keys, cos[:total], sin[:total])
    mask = None
    if sparsity is not None and n:
        mask = select_blocks(q, keys, sparsity, n * CONFIG["transformer"]["chunk_frames"] // x.shape[2])
    return finish(p, x, attend(q, keys, values, mask)[:, None], e, text_k, text_v), k, v


class Block(nn.Module):
    """The weights of a block, under their published names."""

    def __init__(self, dim, heads, ffn_dim):
        super().__init__()
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) * dim ** -0.5)
        self.self_attn, self.cross_attn = Attention(dim, heads), Attention(dim, heads)
        self.norm3 = nn.LayerNorm(dim, eps=1e-6)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_dim), nn.GELU(approximate="tanh"),
                                 nn.Linear(ffn_dim, dim))

    def tensors(self):
        return dict(self.named_parameters())


def modulated(x, shift, scale):
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


def past_of(t, i, window, sink, per):
    """What chunk i sees of t [B, n, L, h, d] before it: the sink and the nearest frames."""
    past = t[:, :i].flatten(1, 2)
    return trim(past, (window - t.shape[2] // per) * per, sink * per)


def trim(past, room, sink):
    """Drop the oldest tokens after the sink so that `room` remain."""
    drop = past.shape[1] - room
    return past if drop <= 0 else torch.cat([past[:, :sink], past[:, sink + drop:]], 1)


class Transformer(nn.Module):
    def __init__(self, dim, heads, layers, ffn_dim, freq_dim, text_dim, text_len, z, chunk_frames):
        super().__init__()
        self.freq_dim, self.text_len, self.z, self.frames = freq_dim, text_len, z, chunk_frames
        self.window, self.sink = CONFIG["cache"]["window"], CONFIG["cache"]["sink"]
        self.patch_embedding = nn.Conv3d(z, dim, (1, 2, 2), (1, 2, 2))
        self.text_embedding = nn.Sequential(nn.Linear(text_dim, dim), nn.GELU(approximate="tanh"),
                                            nn.Linear(dim, dim))
        self.time_embedding = nn.Sequential(nn.Linear(freq_dim, dim), nn.SiLU(), nn.Linear(dim, dim))
        self.time_projection = nn.Sequential(nn.SiLU(), nn.Linear(dim, 6 * dim))
        self.blocks = nn.ModuleList(Block(dim, heads, ffn_dim) for _ in range(layers))
        self.head = nn.Module()
        self.head.modulation = nn.Parameter(torch.randn(1, 2, dim) * dim ** -0.5)
        self.head.head = nn.Linear(dim, 4 * z)
        self.start_weights()
        cos, sin = rope_table(self.window, GRID[0] // 2, GRID[1] // 2, dim // heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def start_weights(self):
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.xavier_uniform_(m.weight)
                nn.init.zeros_(m.bias)
        w = self.patch_embedding.weight
        nn.init.orthogonal_(w.data.view(len(w), -1))
        nn.init.zeros_(self.patch_embedding.bias)
        # The flow is mostly the noise itself: begin by handing the input through.
        self.head.head.weight.data.copy_(w.data.view(len(w), -1).T.view(self.z, 4, -1)
                                         .transpose(0, 1).reshape(4 * self.z, -1) * 0.5)
        nn.init.normal_(self.time_projection[1].weight, std=0.02)
        for block in self.blocks:
            block.modulation.data[0, [0, 1, 3, 4]] *= 0.5
            block.modulation.data[0, [2, 5]] = 0.3
            nn.init.zeros_(block.cross_attn.o.weight)
        # The composition code is a mean over the whole chunk (world.py): start out averaging.
        first = self.blocks[0].self_attn
        first.norm_q.weight.data.fill_(0.3)
        first.norm_k.weight.data.fill_(0.3)
        for linear in (first.v, first.o):
            linear.weight.data *= 2

    def embed(self, latent):
        """[R, n, F, Z, H, W] -> tokens [R, n, L, C]."""
        r, n, f, z, h, w = latent.shape
        patches = latent.view(r, n, f, z, h // 2, 2, w // 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
        return F.linear(patches.reshape(r, n, -1, z * 4), self.patch_embedding.weight.flatten(1),
                        self.patch_embedding.bias)

    def unembed(self, x, t):
        e = (self.head.modulation[0] + t[:, :, None])[..., None, :]
        x = self.head.head(modulated(x, e[:, :, 0], e[:, :, 1])).float()
        h, w = GRID[0] // 2, GRID[1] // 2
        x = x.view(*x.shape[:2], self.frames, h, w, 2, 2, self.z).permute(0, 1, 2, 7, 3, 5, 4, 6)
        return x.reshape(*x.shape[:4], 2 * h, 2 * w)

    def time(self, level):
        """Noise levels [R, n] -> modulation [R, n, 6, C] and head embedding [R, n, C]."""
        half = self.freq_dim // 2
        i = torch.arange(half, device=level.device, dtype=torch.float64)
        angle = level.double()[..., None] * 1000 * 1e4 ** (-i / half)
        t = self.time_embedding(torch.cat([angle.cos(), angle.sin()], -1).float())
        return self.time_projection(t).unflatten(-1, (6, -1)), t

    def text_keys(self, embedding):
        """Text embedding [M, T, text_dim] -> keys and values of every layer; padding stays visible."""
        text = self.text_embedding(F.pad(embedding, (0, 0, 0, self.text_len - embedding.shape[1])))
        return [block.cross_attn.key_value(text) for block in self.blocks]

    def teach(self, clean, noisy, level, text, which, slots, sparsity=None, block=teach_block):
        """Flow of every noisy chunk given the clean chunks before its slot (see teach_block).

        clean [B, n, F, Z, H, W], noisy [B, S, ..]; level [B, S]; text: text_keys of M prompts;
        which [B, n + S]: the prompt of each chunk.
        """
        x = self.embed(torch.cat([clean, noisy], 1))
        mod, t = self.time(torch.cat([torch.zeros_like(level[:, :1]).expand(-1, clean.shape[1]), level], 1))
        which = which.flatten()
        for layer, (k, v) in zip(self.blocks, text):
            x = block(layer.tensors(), x, mod, k[which], v[which], self.cos, self.sin, slots,
                      self.window, self.sink, sparsity)
        n = clean.shape[1]
        return self.unembed(x[:, n:], t[:, n:])

    def step(self, latent, level, text, cache, sparsity=None):
        """One pass over one chunk [B, F, Z, H, W] -> flow, new keys and values."""
        x = self.embed(latent[:, None])
        mod, t = self.time(torch.full((len(latent), 1), float(level), device=latent.device))
        new = []
        for layer, (k, v), old in zip(self.blocks, text, cache):
            x, *kv = step_block(layer.tensors(), x, mod, k, v, self.cos, self.sin, *old, sparsity)
            new.append(kv)
        return self.unembed(x, t)[:, 0], new

    def empty_cache(self, batch, device, dtype):
        shape = batch, 0, self.blocks[0].self_attn.heads, self.cos.shape[1] * 2
        return [(torch.empty(shape, device=device, dtype=dtype),) * 2 for _ in self.blocks]

    def extend_cache(self, cache, new):
        """Append a chunk and make room for the next one, as the sampler does."""
        per = GRID[0] * GRID[1] // 4
        room, sink = (self.window - self.frames) * per, self.sink * per
        return [tuple(trim(torch.cat([o, n], 1), room, sink) for o, n in zip(old, kv))
                for old, kv in zip(cache, new)]

    def sample(self, noises, text, cache, levels=LEVELS, keep=None, sparsity=None, truth=None, given=None):
        """The few-step sampler on one chunk: clean latent and the cache for the next.

        keep: a list that takes the clean estimate of each step.  sparsity [B]: None for dense.
        given [B]: clips whose chunk is not made but `truth`.
        """
        x = noises[0]
        for j, s in enumerate(levels):
            clean = x - s * self.step(x, s, text, cache, sparsity)[0]
            if keep is not None:
                keep.append(clean)
            if j + 1 < len(levels):
                x = (1 - levels[j + 1]) * clean + levels[j + 1] * noises[j + 1]
        if given is not None:
            clean = torch.where(given.view(-1, 1, 1, 1, 1), truth, clean)
        new = self.step(clean, 0.0, text, cache, sparsity)[1]
        return clean, self.extend_cache(cache, new)


def sparsity_of(chunk, target=None, base=None):
    """Chunk-Aware Growth with the model's settings, or others: share left out in chunk number `chunk`."""
    c = CONFIG["sparse"]
    return reference.chunk_sparsity(chunk, CONFIG["transformer"]["chunk_frames"], c["total_frames"],
                                    c["target"] if target is None else target,
                                    c["base"] if base is None else base, CONFIG["cache"]["window"])


# ------------------------------------------------------------------ autoencoder
class Encoder(nn.Module):
    """Four pictures to one latent frame, without memory.  Training needs it, and a video that starts
    from a picture."""

    def __init__(self, z=16, width=(64, 96, 128)):
        super().__init__()
        a, b, c = width
        self.stem = nn.Conv2d(48, a, 3, padding=1)
        self.down1 = nn.Conv2d(a, b, 4, stride=2, padding=1)
        self.down2 = nn.Conv2d(b, c, 4, stride=2, padding=1)
        self.body1 = nn.ModuleList(residual(b) for _ in range(1))
        self.body2 = nn.ModuleList(residual(c) for _ in range(2))
        self.out = nn.Conv2d(c, z, 1)

    def forward(self, video):
        """Pictures [B, 1 + 4m, 3, H, W] in [0, 1] -> latents [B, 1 + m, Z, H/8, W/8]."""
        video = torch.cat([video[:, :1].expand(-1, 3, -1, -1, -1), video], 1)
        b = len(video)
        x = F.pixel_unshuffle(video.unflatten(1, (-1, 4)).flatten(0, 1).flatten(1, 2) * 2 - 1, 2)
        x = F.silu(self.down1(F.silu(self.stem(x))))
        for block in self.body1:
            x = x + block(x)
        x = F.silu(self.down2(x))
        for block in self.body2:
            x = x + block(x)
        return self.out(x).float().unflatten(0, (b, -1))


def residual(c):
    return nn.Sequential(nn.Conv2d(c, c, 3, padding=1), nn.SiLU(), nn.Conv2d(c, c, 3, padding=1))


class Memory(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.conv = nn.ModuleDict({"0": nn.Conv2d(2 * n, n, 3, padding=1), "2": nn.Conv2d(n, n, 3, padding=1),
                                   "4": nn.Conv2d(n, n, 3, padding=1)})

    def forward(self, x):
        """x [B, T, C, H, W]: each frame sees the one before it; a stream begins with zeros."""
        b = len(x)
        past = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
        flat = x.flatten(0, 1)
        y = F.relu(self.conv["0"](torch.cat([flat, past.flatten(0, 1)], 1)))
        y = self.conv["4"](F.relu(self.conv["2"](y)))
        return F.relu(flat + y).unflatten(0, (b, -1))


class Grow(nn.Module):
    """1x1 convolution to twice the channels, read as twice the frames."""

    def __init__(self, n):
        super().__init__()
        self.conv = nn.Conv2d(n, 2 * n, 1, bias=False)


class TinyDecoder(nn.Module):
    """TAEHV: 2-D convolutions with one frame of memory per block."""

    def __init__(self, z=16, width=DECODER_WIDTH):
        super().__init__()
        layers = {1: nn.Conv2d(z, width[0], 3, padding=1)}
        i = 3
        for stage in range(3):
            for _ in range(3):
                layers[i] = Memory(width[stage])
                i += 1
            layers[i + 1] = Grow(width[stage])
            layers[i + 2] = nn.Conv2d(width[stage], width[stage + 1], 3, padding=1, bias=False)
            i += 3
        layers[22] = nn.Conv2d(width[3], 3, 3, padding=1)
        nn.init.constant_(layers[22].bias, 0.5)
        self.decoder = nn.ModuleDict({str(k): m for k, m in layers.items()})

    def forward(self, latents):
        """Latents [B, T, Z, h, w] of a whole stream -> pictures [B, 4T - 3, 3, 8h, 8w], not clamped."""
        b = len(latents)
        x = torch.tanh(latents / 3) * 3
        x = F.relu(self.decoder["1"](x.flatten(0, 1))).unflatten(0, (b, -1))
        for i in range(3, 21):
            if i in (6, 12, 18):
                x = F.interpolate(x.flatten(0, 1), scale_factor=2, mode="nearest").unflatten(0, (b, -1))
            elif i in (7, 13, 19):
                c = x.shape[2]
                y = self.decoder[str(i)].conv(x.flatten(0, 1))
                y = y[:, -c:] if i == 7 else y.reshape(-1, c, *y.shape[2:])
                x = y.unflatten(0, (b, -1))
            elif i in (8, 14, 20):
                x = self.decoder[str(i)](x.flatten(0, 1)).unflatten(0, (b, -1))
            else:
                x = self.decoder[str(i)](x)
        x = self.decoder["22"](F.relu(x.flatten(0, 1))).unflatten(0, (b, -1))
        return x[:, 3:].float()


def build(vocab):
    c = CONFIG
    return (Transformer(**c["transformer"]), TextEncoder(vocab, **c["text_encoder"]), Encoder(), TinyDecoder())
