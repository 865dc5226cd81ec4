"""A judge of videos, trained on nothing but clips that world.py renders.

    python3 models/classifier.py --train --out models/classifier.safetensors --seconds 60     # one GPU
    python3 models/classifier.py --check --weights models/classifier.safetensors

It says what a clip shows: kind, colour and motion of its things, landscape, time of day, weather, camera.  It sees
pictures at half size, three apart, with their differences, through 2-D convolutions and a small mixer in time.  Clips
of all combinations are in its training, also those the generator never sees: a judge must not be weak where it is
asked.  A generator's pictures are softer than the renderer's, so part of the training clips went through the codec,
and all are blurred and made noisy a little.

The check renders new clips of held-out combinations and counts right answers: nothing judged by it can be expected
to score higher.
"""
import argparse
import json
import os
import random
import time

import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import captions as C
import nets
import world

HERE = os.path.dirname(os.path.abspath(__file__))
CLASSES = dict(object=C.KINDS, colour=C.COLOURS, scene=C.LANDSCAPES, time=C.TIMES, weather=C.WEATHERS,
               motion=C.MOTIONS, camera=C.CAMERAS)
OF_THINGS = ("object", "colour", "motion")   # with two things there are two right answers
SAID = dict(scene="place", time="time", weather="weather", camera="camera")
FRAMES, STRIDE = 15, 3                       # what the judge sees of a clip: 2.7 seconds
SPAN = (FRAMES - 1) * STRIDE + 1


# ------------------------------------------------------------------------ labels
def labels(scenes):
    """What world.Scenes shows -> {attribute: [B, classes] shares that sum to 1, or 0 without things}, things [B]."""
    out = {}
    for name, index in (("scene", scenes.land), ("time", scenes.time), ("weather", scenes.weather),
                        ("camera", scenes.camera)):
        out[name] = F.one_hot(index, len(CLASSES[name])).float()
    for i, name in enumerate(OF_THINGS):
        hot = sum(F.one_hot(who[:, i], len(CLASSES[name])) * (scenes.count > j)[:, None]
                  for j, who in enumerate(scenes.who)).float()
        out[name] = hot / hot.sum(1, keepdim=True).clamp(min=1)
    return out, scenes.count.clamp(max=2)


def draw_scene(r):
    """A scene of the captions' grammar, held out or not, with everything in it evenly drawn."""
    s = C.any_scene(r)
    s.update(time=r.choice(C.TIMES), weather=r.choice(C.WEATHERS), camera=r.choice(C.CAMERAS))
    cast = [] if s["actors"] == C.OPEN else s["actors"]
    if s["landscape"] == C.OPEN:
        able = [x for x in C.LANDSCAPES if all(C.fits(a["kind"], x) for a in cast)]
        s["landscape"] = r.choice(able or C.LANDSCAPES)
    if s["actors"] == C.OPEN:
        s["actors"] = [C.sample_actor(r, s["landscape"])]
    return s


# ----------------------------------------------------------------------- network
def conv(a, b, k=3, stride=1):
    return nn.Sequential(nn.Conv2d(a, b, k, stride, k // 2, bias=False), nn.BatchNorm2d(b), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.a, self.b = conv(c, c), nn.Sequential(nn.Conv2d(c, c, 3, padding=1, bias=False), nn.BatchNorm2d(c))

    def forward(self, x):
        return F.relu(x + self.b(self.a(x)))


class Mix(nn.Module):
    """Convolution over time at every place."""

    def __init__(self, c, dilation):
        super().__init__()
        self.conv = nn.Conv3d(c, c, (3, 1, 1), padding=(dilation, 0, 0), dilation=(dilation, 1, 1), bias=False)
        self.norm = nn.BatchNorm3d(c)

    def forward(self, x):
        return F.relu(x + self.norm(self.conv(x)))


class Classifier(nn.Module):
    def __init__(self, width=(32, 64, 96, 104)):
        super().__init__()
        a, b, c, d = width
        self.eye = nn.Sequential(conv(11, a, 5, 2), conv(a, b, 3, 2), Residual(b), conv(b, c, 3, 2), Residual(c),
                                 conv(c, d, 3, 2), Residual(d))
        self.mix = nn.Sequential(Mix(d, 1), Mix(d, 2), Mix(d, 4))
        self.late = nn.Sequential(nn.Conv1d(2 * d, 2 * d, 3, padding=1), nn.ReLU())
        self.last = nn.Sequential(nn.Linear(4 * d, 2 * d), nn.ReLU(), nn.Dropout(0.1))
        self.heads = nn.ModuleDict({k: nn.Linear(2 * d, len(v)) for k, v in CLASSES.items()})
        self.things = nn.Linear(2 * d, 3)

    def forward(self, video):
        """Half-size pictures [B, T, 3, h, w] in [0, 1], STRIDE apart -> {attribute: logits}, logits of 0..2 things."""
        b, t, _, h, w = video.shape
        x = video * 2 - 1
        step = lambda n: F.pad(x[:, n:] - x[:, :-n], (0, 0) * 3 + (n, 0)) if t > n else torch.zeros_like(x)
        rows = torch.linspace(-1, 1, h, device=x.device).view(1, 1, 1, h, 1).expand(b, t, 1, h, w)
        columns = torch.linspace(-1, 1, w, device=x.device).view(1, 1, 1, 1, w).expand(b, t, 1, h, w)
        x = torch.cat([x, step(1) * 2, step(4), rows, columns], 2).flatten(0, 1)
        x = self.eye(x.contiguous(memory_format=torch.channels_last)).unflatten(0, (b, t)).transpose(1, 2)
        x = self.mix(x.contiguous())
        x = torch.cat([x.mean((3, 4)), x.amax((3, 4))], 1)
        x = x + self.late(x)
        x = self.last(torch.cat([x.mean(2), x.amax(2)], 1))
        return {k: head(x).float() for k, head in self.heads.items()}, self.things(x).float()


def halve(video):
    return F.avg_pool2d(video.flatten(0, 1), 2).unflatten(0, video.shape[:2])


# ----------------------------------------------------------------------- judging
def load(path, device="cpu"):
    with safe_open(path, "pt") as f:
        known = json.loads(f.metadata()["classes"])
    if known != json.loads(json.dumps(CLASSES)):
        raise SystemExit(f"{path} was trained for other classes: train it anew")
    model = Classifier()
    model.load_state_dict({k: v.float() for k, v in load_file(path).items()}, strict=False)
    return model.to(device).eval()


def save(model, path):
    state = {k: v.detach().half().cpu().contiguous() for k, v in model.state_dict().items() if v.is_floating_point()}
    save_file(state, path, {"classes": json.dumps(CLASSES)})
    os.chmod(path, 0o644)
    return os.path.getsize(path)


@torch.no_grad()
def answers(model, video, batch=32):
    """Pictures [B, N, 3, H, W] in [0, 1], 16 a second -> {attribute: shares [B, classes]}, shares of 0..2 things.

    A long clip is seen in up to three places.
    """
    device = next(model.parameters()).device
    total, parts = video.shape[1], []
    room = max(0, total - SPAN)
    starts = sorted({0, room // 2, room}) if room else [0]
    for part in video.split(batch):
        small = halve(part.to(device).float())
        seen = [model(small[:, s:s + SPAN:STRIDE]) for s in starts]
        mean = lambda get: sum(get(x).softmax(1) for x in seen) / len(seen)
        parts.append(({k: mean(lambda x: x[0][k]) for k in CLASSES}, mean(lambda x: x[1])))
    return ({k: torch.cat([p[0][k] for p in parts]).cpu() for k in CLASSES}, torch.cat([p[1] for p in parts]).cpu())


def mark(answer, scenes, mentioned=None):
    """Compare answers with scene dicts -> {attribute: dict(right=[0/1 or None], confusion={(truth, answer): n})}.

    Counted is the first thing's kind, colour and motion: with two things it must be among the two best answers;
    where no thing is seen, the kind is "none" and wrong.  mentioned: only count what the prompt says.
    """
    shares, things = answer
    out = {}
    for name, classes in CLASSES.items():
        right, confusion = [], {}
        for i, s in enumerate(scenes):
            cast = [] if s["actors"] == C.OPEN else s["actors"]
            truth = s.get({"scene": "landscape"}.get(name, name))
            said = SAID.get(name) in s["said"]
            if name in OF_THINGS:
                key = {"object": "kind"}.get(name, name)
                truth = cast[0][key] if cast else None
                said = bool(cast) and (name != "motion" or cast[0]["said"])
            if truth in (None, C.OPEN) or (mentioned and not said):
                right.append(None)
                continue
            count = len(cast) if name in OF_THINGS else 1
            best = [classes[j] for j in shares[name][i].topk(count).indices.tolist()]
            guess = truth if truth in best else best[0]
            if name == "object" and int(things[i].argmax()) == 0:
                guess = "none"
            right.append(int(guess == truth))
            confusion[truth, guess] = confusion.get((truth, guess), 0) + 1
        out[name] = dict(right=right, confusion=confusion)
    return out


def share(marks, name):
    """-> share of right answers (None without any), number of answers."""
    known = [x for x in marks[name]["right"] if x is not None]
    return (sum(known) / len(known) if known else None), len(known)


def mistakes(marks, name):
    """The confusions of one attribute as text, most frequent first."""
    wrong = sorted(((n, t, g) for (t, g), n in marks[name]["confusion"].items() if t != g), reverse=True)
    return ", ".join(f"{t} as {g} {n}" for n, t, g in wrong)


def print_marks(marks, title):
    print(title)
    for name in CLASSES:
        value, count = share(marks, name)
        if count:
            print(f"  {name:8} {value * 100:6.1f} % of {count:4}   {mistakes(marks, name)[:160]}")


# ------------------------------------------------------------------------- clips
class Codec:
    """Encoder and decoder of the shipped model, there and back."""

    def __init__(self, model, device):
        self.encoder, self.decoder = nets.Encoder().to(device).eval(), nets.TinyDecoder().to(device).eval()
        state = load_file(model)
        for name, net in (("encoder", self.encoder), ("decoder", self.decoder)):
            net.load_state_dict({k[len(name) + 1:]: v.float() for k, v in state.items() if k.startswith(name + ".")})

    @torch.no_grad()
    def __call__(self, video, noise=0.0, split=8):
        """[B, 1 + 4m, 3, H, W] -> the same, as the decoder makes it of latents with up to `noise` error."""
        out = []
        with torch.autocast(video.device.type, torch.bfloat16, enabled=video.is_cuda):
            for v in video.split(split):
                z = self.encoder(v)
                level = noise * torch.rand(len(z), 1, 1, 1, 1, device=z.device)
                out.append(self.decoder(z + level * torch.randn_like(z)).clamp(0, 1))
        return torch.cat(out)


def codec_of(a, device):
    try:
        return Codec(a.model, device)
    except (OSError, RuntimeError) as error:
        print(f"without clips through the codec: {str(error).splitlines()[0]}")


def scene_clips(scenes, pictures, device, code, start=0.0, split=16):
    """Render scene dicts -> pictures [B, N, 3, H, W], 16 a second."""
    s = world.Scenes(scenes, code, device)
    t = (torch.arange(pictures, device=device).repeat(len(scenes), 1) / world.RATE
         + torch.as_tensor(start, device=device).view(-1, 1))
    index = torch.arange(len(scenes), device=device)
    return torch.cat([world.render(s[i], t[i]) for i in index.split(split)])


class Clips:
    """A ring of rendered clips at half size, as bytes."""

    def __init__(self, size, codec, seed, device):
        self.r, self.size, self.codec, self.device = random.Random(seed), size, codec, device
        self.filled = self.next = self.rounds = self.made = 0
        self.video = torch.empty(size, FRAMES, 3, world.HEIGHT // 2, world.WIDTH // 2, dtype=torch.uint8, device=device)
        self.label = {k: torch.zeros(size, len(v), device=device) for k, v in CLASSES.items()}
        self.things = torch.zeros(size, dtype=torch.long, device=device)

    @torch.no_grad()
    def renew(self, count):
        """Render new clips; every fourth time fewer, but all their pictures, to send them through the codec."""
        coded = self.codec and self.rounds % 4 == 3
        count = min(max(1, count // 2) if coded else count, self.size - self.next)
        self.rounds, self.made = self.rounds + 1, self.made + count
        scenes = world.Scenes([draw_scene(self.r) for _ in range(count)], torch.rand(count, world.CODES), self.device)
        start = torch.rand(count, 1, device=self.device) * 60 * (torch.rand(count, 1, device=self.device) < 0.6)
        picture = torch.arange(SPAN + 2, device=self.device) if coded else \
            torch.arange(0, SPAN, STRIDE, device=self.device)
        video = world.render(scenes, start + picture / world.RATE)
        if coded:
            video = self.codec(video, 0.35)[:, :SPAN:STRIDE]
        at = slice(self.next, self.next + count)
        self.video[at] = (halve(video) * 255).round().byte()
        label, self.things[at] = labels(scenes)
        for k, v in label.items():
            self.label[k][at] = v
        self.next = (self.next + count) % self.size
        self.filled = max(self.filled, self.next or self.size)

    def batch(self, count):
        pick = torch.randint(self.filled, (count,), device=self.device)
        return disturb(self.video[pick].float() / 255), {k: v[pick] for k, v in self.label.items()}, self.things[pick]


def disturb(x):
    """Softness, noise and tone as a generator may have them.  x [B, T, 3, h, w]."""
    b, dev = len(x), x.device
    some = lambda high, p=0.6: (torch.rand(b, 1, 1, 1, 1, device=dev) * high
                                * (torch.rand(b, 1, 1, 1, 1, device=dev) < p))
    soft = lambda y: F.avg_pool2d(y.flatten(0, 1), 3, 1, 1, count_include_pad=False).view_as(y)
    once = soft(x)
    x = torch.lerp(x, once, some(1.0))
    x = torch.lerp(x, soft(once), some(0.8, 0.3))
    x = (x - 0.5) * (1 + some(0.12) - 0.06) + 0.5 + some(0.06) - 0.03
    return (x + some(0.05) * torch.randn_like(x)).clamp(0, 1)


def mirrored(video, label):
    """Half of the clips mirrored; the camera then pans the other way."""
    swap = torch.rand(len(video), device=video.device) < 0.5
    order = list(range(len(C.CAMERAS)))
    i, j = C.CAMERAS.index("left"), C.CAMERAS.index("right")
    order[i], order[j] = j, i
    video = torch.where(swap.view(-1, 1, 1, 1, 1), video.flip(-1), video)
    return video, dict(label, camera=torch.where(swap[:, None], label["camera"][:, order], label["camera"]))


# ---------------------------------------------------------------------- training
def train(a, device):
    began = time.time()
    torch.manual_seed(a.seed)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    model = Classifier().to(device)
    for p in model.parameters():
        if p.dim() == 4:  # 2-D kernels: the matrix units want channels last
            p.data = p.data.contiguous(memory_format=torch.channels_last)
    clips = Clips(a.clips, codec_of(a, device), a.seed, device)
    opt = torch.optim.AdamW(model.parameters(), lr=a.rate, weight_decay=0.02, fused=device.type == "cuda")
    sync = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M parameters; "
          f"starts after {time.time() - began:.1f} s")
    rendering = steps = 0
    while (done := (time.time() - began) / a.seconds) < 1 and (not a.steps or steps < a.steps):
        # A fixed share of the time goes to new clips, whatever they cost here.
        while clips.filled < min(a.first, a.clips) or (rendering < a.share * (time.time() - began) and done < 0.9
                                                       and not a.steps):
            t = time.time()
            clips.renew(a.renew)
            sync()
            rendering += time.time() - t
        rate = a.rate * min(1, (steps + 1) / 50) * min(1, (1 - done) / 0.5 + 0.005)
        for group in opt.param_groups:
            group["lr"] = rate
        video, label, things = clips.batch(a.batch)
        video, label = mirrored(video, label)
        if steps % 4 == 3:
            video = video[:, 4:11]               # short clips as well
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            logits, number = model(video)
        parts = {k: -(label[k] * v.log_softmax(1)).sum(1).mean() for k, v in logits.items()}
        loss = sum(parts.values()) + F.cross_entropy(number, things)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        opt.step()
        if steps % 100 == 0 or a.steps:
            print(f"[{time.time() - began:5.1f} s] step {steps}: loss {loss.item():.3f}, clips {clips.filled}, "
                  + " ".join(f"{k} {v.item():.2f}" for k, v in parts.items()), flush=True)
        steps += 1
    print(f"{steps} steps of {a.batch} in {time.time() - began:.1f} s, {rendering:.1f} s of it for {clips.made} clips")
    print(f"{a.out}: {save(model, a.out) / 2 ** 20:.2f} MiB")


def check(a, device):
    """Right answers on new clips of held-out combinations, as rendered and through the codec."""
    model, r = load(a.weights, device), random.Random(a.seed + 1000)
    torch.manual_seed(a.seed + 1000)
    scenes = [C.sample_test(r) for _ in range(a.check_clips)]
    codec, parts, began = codec_of(a, device), {"as rendered": [], "through the codec": []}, time.time()
    for i in range(0, len(scenes), 32):
        some = scenes[i:i + 32]
        video = scene_clips(some, 45, device, torch.rand(len(some), world.CODES))
        parts["as rendered"].append(answers(model, video))
        if codec:
            parts["through the codec"].append(answers(model, codec(video)))
    for name, answer in parts.items():
        if answer:
            whole = ({k: torch.cat([p[0][k] for p in answer]) for k in CLASSES}, torch.cat([p[1] for p in answer]))
            print_marks(mark(whole, scenes), f"{len(scenes)} new clips of held-out combinations, {name}:")
    print(f"checked in {time.time() - began:.1f} s")


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--train", action="store_true")
    a.add_argument("--check", action="store_true", help="after --train: of what was trained")
    a.add_argument("--out", default="classifier.safetensors")
    a.add_argument("--weights", help="for --check without --train")
    a.add_argument("--seconds", type=float, default=60)
    a.add_argument("--steps", type=int, default=0, help="end after so many steps (to try it on a CPU)")
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--rate", type=float, default=1.5e-3)
    a.add_argument("--share", type=float, default=0.45, help="share of the time for rendering")
    for name, value in (("batch", 128), ("clips", 24576), ("first", 1024), ("renew", 64), ("check-clips", 512)):
        a.add_argument("--" + name, type=int, default=value)
    a.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    a.add_argument("--model", default=os.path.join(HERE, "lightforce-default.safetensors"))
    a = a.parse_args()
    device = torch.device(a.device)
    if a.train:
        train(a, device)
        a.weights = a.out
    if a.check:
        check(a, device)


if __name__ == "__main__":
    main()
