"""Training data, made while training: a bank of captions, and a pool of encoded clips."""
import random

import torch

import actors
import captions as C
import nets
import world

CHUNKS = 4                              # of one training clip
FRAMES = CHUNKS * 3                     # latent frames
PICTURES = 4 * FRAMES - 3
PHRASES = 3                             # captions of one scene


class Bank:
    """Scenes with tokenized captions."""

    def __init__(self, tokenizer, count, seed, device):
        self.r = random.Random(seed)
        self.scenes = [C.sample_scene(self.r) for _ in range(count)]
        self.ids = torch.tensor([[tokenizer(C.caption(self.r, s)) for _ in range(PHRASES)]
                                 for s in self.scenes]).to(device)
        self.device = device

    def draw(self, count):
        """-> Scenes, their numbers in the bank."""
        pick = torch.tensor([self.r.randrange(len(self.scenes)) for _ in range(count)])
        code = torch.rand(count, world.CODES)
        return world.Scenes([self.scenes[i] for i in pick], code, self.device), pick.to(self.device)


def clip_times(count, pictures, device, gap=0.0, start=None):
    """Times [count, pictures].  The code fixes the composition at time 0, so what the code
    must explain begins there: at picture `start`.  With probability `gap`, time jumps after
    the first chunk: what remains of it in a long stream's window is the sink."""
    t = torch.arange(pictures, device=device).repeat(count, 1)
    if start is not None:
        t = t - start[:, None]
    jumps = torch.rand(count, device=device) < gap
    t[:, 9:] += (jumps * torch.randint(0, 60 * world.RATE, (count,), device=device))[:, None]
    return t / world.RATE, jumps


class Pool:
    """A ring of encoded clips on the device, renewed a part at a time.

    Every eighth clip is one to cut to: its time 0 is at the start of a later chunk.
    """

    def __init__(self, bank, encoder, size, device):
        self.bank, self.encoder, self.size, self.filled, self.next = bank, encoder, size, 0, 0
        self.latent = torch.empty(size, FRAMES, 16, *nets.GRID, dtype=torch.float16, device=device)
        self.code = torch.empty(size, world.CODES, device=device)
        self.scene = torch.empty(size, dtype=torch.long, device=device)
        self.jumped = torch.empty(size, dtype=torch.bool, device=device)
        slot = torch.arange(size, device=device)
        self.origin = torch.where(slot % 8 == 7, 1 + slot // 8 % (CHUNKS - 1), 0)

    @torch.no_grad()
    def renew(self, count):
        count = min(count, self.size - self.next)
        device = self.code.device
        at = slice(self.next, self.next + count)
        scenes, number = self.bank.draw(count)
        origin = self.origin[at]
        start = torch.where(origin > 0, 12 * origin - 3, 0)
        t, jumps = clip_times(count, PICTURES, device, 0.2, start)
        jumps &= origin == 0
        t = torch.where(jumps[:, None], t, clip_times(count, PICTURES, device, 0, start)[0])
        pictures = world.render(scenes, t)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            latent = torch.cat([self.encoder(p) for p in pictures.split(16)])
        self.latent[at], self.code[at] = latent.half(), scenes.u
        self.scene[at], self.jumped[at] = number, jumps
        self.next = (self.next + count) % self.size
        self.filled = max(self.filled, self.next or self.size)

    def batch(self, count, switch=0.15):
        """Clips [B, CHUNKS, 3, 16, h, w] as a dict.

        Some clips cut to another scene: from chunk `cut` on, latents, code and
        text are the other's, as when the prompt of a stream changes.
        """
        device = self.code.device
        a = torch.randint(self.filled // 8 * 7, (count,), device=device)
        a = a + a // 7
        b = torch.randint(self.filled // 8, (count,), device=device) * 8 + 7
        cut = torch.where(torch.rand(count, device=device) < switch, self.origin[b], CHUNKS)
        chunk = torch.arange(CHUNKS, device=device)
        other = chunk >= cut[:, None]
        owner = torch.where(other, b[:, None], a[:, None])
        latent = self.latent.view(self.size, CHUNKS, 3, 16, *nets.GRID)[owner, chunk].float()
        phrase = torch.randint(PHRASES, (2 * count,), device=device)
        ids = self.bank.ids[self.scene[torch.cat([a, b])], phrase]
        which = torch.arange(count, device=device)[:, None] + count * other
        # Chunks nothing before them explains: the first, and the one after a cut.
        fresh = (chunk == 0) | (chunk == cut[:, None])
        # After a jump in time the next two chunks have a past no stream has.
        jumped = self.jumped[owner] & (chunk >= 1)
        return dict(latent=latent, code=self.code[owner], ids=ids, which=which, fresh=fresh,
                    weight=(~(jumped & (chunk <= 2))).float(), jumped=jumped)


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
        t = clip_times(count, self.length, device)[0] + torch.rand(count, 1, device=device) * 60
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
