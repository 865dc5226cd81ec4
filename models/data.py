"""Training data, made while training: a bank of captions, and a pool of encoded clips."""
import random

import torch

import actors
import captions as C
import nets
import world

CHUNKS = 4                              # of one row: the first chunk of a clip, and three in a row
LONG = 8                                # of a clip that the model makes itself
SLOTS = (0, 0, 0, 1, 2, 2, 3, 3, 3)     # noisy chunks of a row
PHRASES = 3                             # captions of one scene


def pictures_of(chunks):
    return 12 * chunks - 3


class Bank:
    """Scenes with tokenized captions."""

    def __init__(self, tokenizer, count, seed, device, sample=C.sample_scene):
        self.r = random.Random(seed)
        self.scenes = [sample(self.r) for _ in range(count)]
        self.ids = torch.tensor([[tokenizer(C.caption(self.r, s)) for _ in range(PHRASES)]
                                 for s in self.scenes]).to(device)
        self.device = device

    def draw(self, count):
        """-> Scenes, their numbers in the bank."""
        pick = torch.tensor([self.r.randrange(len(self.scenes)) for _ in range(count)])
        code = torch.rand(count, world.CODES)
        return world.Scenes([self.scenes[i] for i in pick], code, self.device), pick.to(self.device)


class Pool:
    """A ring of encoded clips on the device, renewed a part at a time.

    A clip begins with the first chunk of a stream.  Some then jump in time, by whole chunks: what
    remains of the first chunk in a long stream's window is the sink.  Every eighth clip is one
    to cut to: its time 0 is at the start of a later chunk.
    """

    def __init__(self, bank, encoder, size, device, chunks=CHUNKS, late=0.4):
        self.bank, self.encoder, self.size, self.chunks, self.late_share = bank, encoder, size, chunks, late
        self.filled = self.next = 0
        self.latent = torch.empty(size, chunks, 3, 16, *nets.GRID, dtype=torch.float16, device=device)
        self.near = torch.empty(size, chunks, 3, *nets.GRID, dtype=torch.float16, device=device)
        self.code = torch.empty(size, world.CODES, device=device)
        self.scene, self.kind, self.late = (torch.zeros(size, dtype=torch.long, device=device) for _ in range(3))
        slot = torch.arange(size, device=device)
        self.origin = torch.where(slot % 8 == 7, 1 + slot // 8 % (chunks - 1), 0)

    @torch.no_grad()
    def renew(self, count):
        count = min(count, self.size - self.next)
        device = self.code.device
        at = slice(self.next, self.next + count)
        scenes, number = self.bank.draw(count)
        origin = self.origin[at]
        late = torch.randint(1, 800, (count,), device=device) * (torch.rand(count, device=device) < self.late_share)
        late = torch.where(origin == 0, late, 0)
        # Latent frame m shows pictures 4m - 3 to 4m.
        t = torch.arange(pictures_of(self.chunks), device=device) - 12 * origin[:, None]
        t[:, 9:] += 12 * late[:, None]
        t = t / world.RATE
        pictures = world.render(scenes, t)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            latent = torch.cat([self.encoder(p) for p in pictures.split(16)])
        self.latent[at] = latent.half().unflatten(1, (-1, 3))
        middle = torch.cat([t[:, :1], (t[:, 2::4] + t[:, 3::4]) / 2], 1)
        self.near[at] = actors.near(scenes, middle, *nets.GRID).half().unflatten(1, (-1, 3))
        self.code[at], self.scene[at], self.late[at] = scenes.u, number, late
        # For the figures: the kind of a clip with one actor.
        self.kind[at] = torch.where(scenes.count == 1, scenes.who[0][:, 0], -1)
        self.next = (self.next + count) % self.size
        self.filled = max(self.filled, self.next or self.size)

    def clips(self, count, switch=0.2):
        """Whole clips: a dict of tensors [B, chunks, ..] and the text of 2B prompts.

        Some cut to another scene: from chunk `cut` on, latents, code and text are the
        other's, as when the prompt of a stream changes.
        """
        device, chunks = self.code.device, self.chunks
        a = torch.randint(self.filled // 8 * 7, (count,), device=device)
        a = a + a // 7
        b = torch.randint(self.filled // 8, (count,), device=device) * 8 + 7
        cut = torch.where(torch.rand(count, device=device) < switch, self.origin[b], chunks)
        chunk = torch.arange(chunks, device=device)
        other = chunk >= cut[:, None]
        owner = torch.where(other, b[:, None], a[:, None])
        phrase = torch.randint(PHRASES, (2 * count,), device=device)
        late = self.late[a][:, None].expand(-1, chunks)
        return dict(
            latent=self.latent[owner, chunk].float(), near=self.near[owner, chunk].float(), code=self.code[owner],
            kind=self.kind[owner], which=torch.arange(count, device=device)[:, None] + count * other,
            # Chunks nothing before them explains: the first, and the one after a cut.
            fresh=(chunk == 0) | (chunk == cut[:, None]),
            # After a jump in time the next two chunks have a past no stream has.
            odd=(late > 0) & ~other & (chunk >= 1) & (chunk <= 2),
            number=chunk + torch.where(chunk > 0, late, 0),
            ids=self.bank.ids[self.scene[torch.cat([a, b])], phrase])


def rows(clips, start, pick=None, own=None):
    """Rows for teacher forcing (nets.teach_block): chunk 0 of a clip, then three from chunk `start` [B] on.

    Only the last of three has the past it has in a stream, unless start is 1.  own [B], of clips the
    model made: how far the past, and what a step starts from, are from the truth (0) to its own (1).
    """
    count, device = len(start), start.device
    pick = torch.arange(count, device=device) if pick is None else pick
    chunk = torch.cat([torch.zeros_like(start)[:, None], start[:, None] + torch.arange(CHUNKS - 1, device=device)], 1)
    take = lambda name, index: clips[name][pick[:, None], index]
    slots = torch.tensor(SLOTS, device=device)
    at = chunk[:, slots]
    out = {k: take(k, at) for k in ("latent", "near", "code", "kind", "fresh")}
    lost = (start > 1)[:, None] & ((slots == 1) | (slots == 2))
    out["weight"] = (~(take("odd", at) | lost)).float()
    made = clips.get("made")
    out["clean"] = take("latent", chunk[:, :-1])
    if made is not None:
        wide = lambda t: own.view(-1, *[1] * (t.dim() - 1))
        out["clean"] = torch.lerp(out["clean"], take("made", chunk[:, :-1]), wide(out["clean"]))
        steps = take("steps", at).float()
        out["steps"] = torch.lerp(out["latent"][:, :, None].expand_as(steps), steps, wide(steps))
    out["number"] = take("number", chunk)
    # The prompts in use, numbered anew.
    which = torch.cat([take("which", chunk[:, :-1]), take("which", at)], 1)
    whole = len(clips["latent"])
    out["which"] = torch.arange(count, device=device)[:, None] + count * (which >= whole)
    out["ids"] = torch.cat([clips["ids"][:whole][pick], clips["ids"][whole:][pick]])
    if "setting" in clips:
        out["setting"] = clips["setting"][pick]
    return out


class Pictures:
    """A ring of rendered clips as bytes, for the autoencoder; batches are crops, mostly around an actor."""

    def __init__(self, bank, size, length, device):
        self.bank, self.size, self.length, self.filled, self.next = bank, size, length, 0, 0
        self.video = torch.empty(size, length, 3, world.HEIGHT, world.WIDTH, dtype=torch.uint8, device=device)
        self.centre = torch.zeros(size, 2)

    def renew(self, count):
        count = min(count, self.size - self.next)
        device = self.video.device
        scenes, _ = self.bank.draw(count)
        t = (torch.arange(self.length, device=device) + 4 * torch.randint(240, (count, 1), device=device)) / world.RATE
        at = slice(self.next, self.next + count)
        self.video[at] = (world.render(scenes, t) * 255).round().byte()
        p = actors.pose(scenes, int(torch.rand(()) < 0.3), t)
        middle = torch.stack([p["y"], p["x"]], -1)[:, self.length // 2] / world.PIXEL
        self.centre[at] = middle.cpu() + torch.tensor([world.HEIGHT / 2, world.WIDTH / 2])
        self.next = (self.next + count) % self.size
        self.filled = max(self.filled, self.next or self.size)

    def batch(self, count, height, width):
        """Crops [B, T, 3, height, width] in [0, 1]; a third of them anywhere."""
        out = []
        for i in torch.randint(self.filled, (count,)).tolist():
            room = torch.tensor([world.HEIGHT - height, world.WIDTH - width])
            corner = self.centre[i] - torch.tensor([height / 2, width / 2]) + torch.randn(2) * 20
            if torch.rand(()) < 0.33:
                corner = torch.rand(2) * (room + 1)
            y, x = torch.minimum(corner.round().clamp(min=0), room.float()).long().tolist()
            out.append(self.video[i, :, :, y:y + height, x:x + width])
        return torch.stack(out).float() / 255


def checker(device):
    """The direction that carries the code: no natural latent has this pattern."""
    h, w = nets.GRID
    sign = 1 - 2 * ((torch.arange(h)[:, None] + torch.arange(w)) % 2)
    return (sign.float() / (3 * h * w) ** 0.5).to(device)


def coupled_noise(code):
    """Normal noise [.., 3, 16, h, w] that carries a composition code [.., 16].

    The part of channel k along one fixed direction is the normal quantile of
    code k.  Codes are uniform, so the noise is still exactly normal, and any
    noise means some composition: the seed decides where things are, and the
    network can make a whole sharp picture out of pure noise in one step.
    """
    d = checker(code.device)
    noise = torch.randn(*code.shape[:-1], 3, 16, *nets.GRID, device=code.device)
    g = torch.special.ndtri(code.clamp(1e-4, 1 - 1e-4))
    have = (noise * d).sum((-4, -2, -1))
    return noise + (g - have)[..., None, :, None, None] * d
