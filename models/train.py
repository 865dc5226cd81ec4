"""Train the default model on one GPU, or on several of one machine.

    python3 models/train.py --out DIR --minutes 40
    python3 -m torch.distributed.run --nproc-per-node 2 models/train.py --out DIR --minutes 20

Stages, each bounded by wall clock:
  codec    encoder and streaming decoder
  teach    flow matching, every chunk given the true chunks before it
  rollout  the same, given something between the true chunks and what the model itself made of the
           clip so far: far enough off to learn the way back, not so far that the true next chunk
           cannot be told from it (the mean of what could be next is a blur)
  sparse   rollout with Chunk-Aware Growth and Hierarchical Sparse Attention switched on, at the
           model's own sparsity and at 0.8 and 0.9
--stages teach=6,rollout=2 names stages and minutes.  --resume DIR goes on from another run's output,
or from what unpack.py makes of a packed model.  Weights are saved every minute, those at the end of
each stage of the transformer in DIR/STAGE, too.
"""
import argparse
import copy
import glob
import os
import time

import torch
import torch._dynamo
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

import captions
import data
import nets
import optim
import ranks
import tokenizer
import world

PROMPTS = (
    "a red ball bouncing on green hills", "a blue sailing boat on the sea at sunset",
    "a yellow star over a snowy landscape at night", "a green car driving through the desert",
    "a purple balloon rising over the city", "a white bird flying over the sea on a cloudy day",
    "an orange cube spinning in the snow while it snows", "a pink ring rolling on green hills in the rain",
    "a red car and a blue balloon in the city at night", "Rolling hills at dawn. The camera pans right.",
    "", "black ball in the desert")


# Target and base of Chunk-Aware Growth: the settings of the model, and those of the ablation.
SPARSITIES = ((None, None), (0.8, 0.84), (0.9, 0.92))


class Clock:
    """Wall-clock share of one stage."""

    def __init__(self, minutes):
        self.start, self.length = time.time(), minutes * 60

    def done(self):
        return (time.time() - self.start) / self.length


class Run:
    def __init__(self, a):
        self.a, self.ranks = a, ranks.Ranks(a.device)
        self.device = self.ranks.device
        self.started = time.time()
        os.makedirs(a.out, exist_ok=True)
        self.log_file = open(os.path.join(a.out, "log.txt"), "a") if self.ranks.first else None
        torch.manual_seed(a.seed)
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
        old = load_parts(a.resume) if a.resume else None
        if a.resume:
            self.spm = bytes(old.pop("tokenizer.model").tolist())
        else:
            self.spm = tokenizer.train()
        self.tokenizer = tokenizer.Tokenizer(self.spm, nets.CONFIG["transformer"]["text_len"])
        parts = nets.build(self.tokenizer.sp.vocab_size())
        self.transformer, self.text, self.encoder, self.decoder = (m.to(self.device) for m in parts)
        if old:
            for name, m in self.modules().items():
                m.load_state_dict({k[len(name) + 1:]: v.float() for k, v in old.items()
                                   if k.startswith(name + ".")}, strict=False)
        self.ranks.start(self.modules().values())
        self.average = copy.deepcopy(nn_list(self.transformer, self.text)).requires_grad_(False)
        seed = a.seed + 1000 * self.ranks.rank
        torch.manual_seed(seed)
        self.bank = data.Bank(self.tokenizer, a.bank, seed, self.device)
        self.saved, self.pool, self.block = time.time(), None, None
        self.log(f"ready: bank of {a.bank} scenes, {sum(p.numel() for p in self.transformer.parameters()) / 1e6:.2f} M "
                 f"transformer, {sum(p.numel() for p in self.text.parameters()) / 1e6:.2f} M text, "
                 f"{sum(p.numel() for p in self.decoder.parameters()) / 1e6:.3f} M decoder")

    def modules(self):
        return dict(transformer=self.transformer, text_encoder=self.text, encoder=self.encoder,
                    decoder=self.decoder)

    def log(self, text):
        if not self.ranks.first:
            return
        line = f"[{time.time() - self.started:6.1f} s] {text}"
        print(line, flush=True)
        print(line, file=self.log_file, flush=True)

    def autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def save(self, folder=""):
        """The averaged weights, as files below 16 MB."""
        self.saved = time.time()
        if not self.ranks.first:
            return
        out = os.path.join(self.a.out, folder)
        os.makedirs(out, exist_ok=True)
        state = {}
        for name, m in dict(transformer=self.average[0], text_encoder=self.average[1],
                            encoder=self.encoder, decoder=self.decoder).items():
            state.update({f"{name}.{k}": v.detach().half().cpu().contiguous() for k, v in m.state_dict().items()})
        state["tokenizer.model"] = torch.frombuffer(bytearray(self.spm), dtype=torch.uint8)
        part, size, number = {}, 0, 0
        for k in sorted(state):
            if size + state[k].nbytes > 15e6:
                save_file(part, os.path.join(out, f"model-{number}.safetensors"))
                part, size, number = {}, 0, number + 1
            part[k] = state[k]
            size += state[k].nbytes
        save_file(part, os.path.join(out, f"model-{number}.safetensors"))

    def maybe_save(self):
        if time.time() - self.saved > 60:
            self.save()

    # ---------------------------------------------------------------- codec
    def codec(self, minutes):
        """Encoder and decoder together, on crops: colours, edges and coarse scales."""
        a, clock, step = self.a, Clock(minutes), 0
        enc, dec = self.encoder, self.decoder
        pool = data.Pictures(self.bank, a.pictures, 17, self.device)
        while pool.filled < min(a.pictures, 256):
            pool.renew(32)
        params = [*enc.parameters(), *dec.parameters()]
        kernels = [p for p in params if p.dim() == 4 and min(p.shape[0], p[0].numel()) >= 16]
        known = {id(p) for p in kernels}
        opt = optim.Muon(kernels, [p for p in params if id(p) not in known], decay=0.0)
        began = time.time()
        while (done := self.ranks.agree(clock.done())) < 1:
            rate = (1e-3 if a.resume else 3e-3) * min(1, (step + 1) / 100) * min(1, (1 - done) / 0.6 + 0.01)
            if step % 4 == 0:
                pool.renew(32)
            whole = step % 5 == 4
            video = pool.batch(a.codec_batch // 3 if whole else a.codec_batch, *((160, 256) if whole else (112, 144)))
            with self.autocast():
                z = enc(video)
                var, mean = torch.var_mean(z, (0, 1, 3, 4))
                # The generator's latents will not be exact either.
                noise = torch.rand(len(z), 1, 1, 1, 1, device=z.device) * 0.12
                out = dec(z + noise * torch.randn_like(z))
            # The rim of a crop lacks its surroundings.
            rim = 0 if whole else 8
            inner = lambda x: x[..., rim:x.shape[-2] - rim, rim:x.shape[-1] - rim]
            loss, l1 = picture_loss(inner(out), inner(video))
            opt.zero()
            # Latents of about unit variance in every channel, without far outliers.
            unit = mean.pow(2).mean() + (var + 1e-4).log().pow(2).mean()
            (loss + 0.02 * unit + 1e-4 * z.pow(4).mean()).backward()
            self.ranks.average(params)
            torch.nn.utils.clip_grad_norm_(params, 1.0)
            opt.step(rate)
            if step % 200 == 4:
                psnr = -10 * torch.log10((out.clamp(0, 1) - video).pow(2).mean((1, 2, 3, 4))).mean()
                self.log(f"codec {step}: loss {loss.item():.4f} L1 {l1.item():.4f} PSNR {psnr.item():.2f} dB "
                         f"|z| max {z.abs().max().item():.1f} var {var.min().item():.2f}..{var.max().item():.2f} {(time.time() - began) / (step + 1) * 1e3:.0f} ms/step")
                self.maybe_save()
            step += 1
        with torch.no_grad():
            scenes, _ = self.bank.draw(16)
            video = world.render(scenes, torch.arange(33, device=self.device).repeat(16, 1) / world.RATE)
            out = torch.cat([dec(enc(v)).clamp(0, 1) for v in video.split(4)])
        psnr = -10 * torch.log10((out - video).pow(2).mean((1, 2, 3, 4))).mean()
        self.log(f"codec done: {step} steps, PSNR of whole new clips {psnr.item():.2f} dB")
        self.picture_sheet("codec.png", [torch.cat([p[i], q[i]], 2) for p, q in
                                         zip(video[:6], out[:6]) for i in (0, 20)], 2)
        self.save()

    def picture_sheet(self, name, pictures, columns):
        rows = [torch.cat(pictures[i:i + columns], 2) for i in range(0, len(pictures), columns)]
        sheet = (torch.cat(rows, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        Image.fromarray(sheet).save(os.path.join(self.a.out, name))

    # ------------------------------------------------------------ generator
    def generator(self, minutes, stage):
        a, clock, step = self.a, Clock(minutes), 0
        model, text = self.transformer, self.text
        self.encoder.requires_grad_(False)
        own, sparse = stage != "teach", stage == "sparse"
        self.fill(data.LONG if own else data.CHUNKS)
        self.block = None if sparse else self.compiled()
        size = a.sparse_batch if sparse else a.batch
        opt = optim.Muon(*optim.split([model, text]))
        live = [p for m in (model, text) for p in m.parameters()]
        peak = a.rate * dict(teach=1, rollout=0.4, sparse=0.2)[stage]
        totals, made, uses, began = Totals(self.device), None, 0, time.time()
        while (done := self.ranks.agree(clock.done())) < 1:
            decay = min(1, (1 - done) / a.decay + 0.02) if a.decay else 1
            rate = peak * min(1, (step + 1) / 100) * decay
            if step % a.every == a.every - 1:
                self.pool.renew(a.renew * data.CHUNKS // self.pool.chunks)
            if own and step % 4 != 3:
                if uses == 0:
                    made, uses = self.roll(self.pool.clips(a.rolls), sparse), a.uses
                uses -= 1
                start = torch.randint(1, data.LONG - 2, (size,), device=self.device)
                start = torch.where(torch.rand(size, device=self.device) < 0.3, 1, start)
                batch = data.rows(made, start, torch.randint(a.rolls, (size,), device=self.device),
                                  a.own * torch.rand(size, device=self.device))
            else:
                clips = self.pool.clips(size)
                if sparse:
                    clips["setting"] = self.settings(size)
                batch = data.rows(clips, torch.ones(size, dtype=torch.long, device=self.device))
            loss = self.flow_loss(batch, totals)
            opt.zero()
            loss.backward()
            self.ranks.average(live)
            norm = torch.nn.utils.clip_grad_norm_(live, 1.0)
            opt.step(rate)
            keep = min(0.998, (1 + step) / (20 + step))
            with torch.no_grad():
                torch._foreach_lerp_(list(self.average.parameters()), live, 1 - keep)
            if step in (5, 20) or step % 100 == 0:
                self.sync()
                if step == 5:  # compiled by now
                    began = time.time()
                self.log(f"{stage} {step}: loss {loss.item():.4f} norm {norm.item():.2f} rate {rate:.1e} "
                         f"{(time.time() - began) / max(step - 5, 1) * 1e3:.0f} ms/step pool {self.pool.filled} | "
                         + totals.line())
                if step % 500 == 0 and step:
                    self.log(totals.table())
                    totals.clear()
                self.maybe_save()
            step += 1
        self.log(f"{stage} done: {step} steps")
        self.log(totals.table())
        self.save()

    def fill(self, chunks):
        """A pool of clips of that length, with enough in it to begin."""
        a = self.a
        if self.pool and self.pool.chunks == chunks:
            return
        size = a.pool * data.CHUNKS // chunks // 8 * 8
        pool = self.pool = data.Pool(self.bank, self.encoder, size, self.device, chunks)
        first, began = min(size, max(8, a.first * data.CHUNKS // chunks)), time.time()
        while pool.filled < first:
            pool.renew(a.renew * data.CHUNKS // chunks)
        self.sync()
        pictures = pool.filled * data.pictures_of(chunks)
        self.log(f"pool of {pool.filled} clips, {pictures / (time.time() - began):.0f} pictures/s rendered and encoded")

    def compiled(self):
        """The block as a compiled function; plain PyTorch where that fails."""
        if not self.a.compile:
            return None
        try:
            torch.compile(lambda x: torch.sin(x) * 2, dynamic=False)(torch.ones(8, device=self.device))
            torch._dynamo.config.suppress_errors = True
            self.log("blocks are compiled")
            return torch.compile(nets.teach_block, dynamic=False)
        except Exception as e:
            self.log(f"not compiled: {type(e).__name__}: {str(e)[:300]}")
            return None

    def flow_loss(self, batch, totals):
        """Error of the predicted clean chunks at the sampler's levels (mostly) or any level."""
        latent, fresh, dev = batch["latent"], batch["fresh"], self.device
        b, n = fresh.shape
        pick = torch.multinomial(torch.tensor([.30, .25, .25, .20], device=dev), b * n, replacement=True).view(b, n)
        exact = torch.rand(b, n, device=dev) < 0.9
        level = torch.where(exact, torch.tensor(nets.LEVELS, device=dev)[pick],
                            0.02 + 0.98 * torch.rand(b, n, device=dev))
        wide = lambda m: m.reshape(*m.shape, 1, 1, 1, 1)
        # In pure noise the code tells where things are; below, what shows through of them.
        pure = (level > 0.97) & fresh
        noise = torch.where(wide(pure), data.coupled_noise(batch["code"]), torch.randn_like(latent))
        base = latent
        clean = batch["clean"]
        if "steps" in batch:
            last = (pick - 1).clamp(min=0).view(b, n, 1, 1, 1, 1, 1).expand(-1, -1, 1, *latent.shape[2:])
            base = batch["steps"].gather(2, last)[:, :, 0].float()
            clean = clean.float()
        else:
            # A model's own past is never quite clean.
            dirt = 0.15 * torch.rand(b, 1, device=dev) * (torch.rand(b, 1, device=dev) < 0.5)
            clean = clean + wide(dirt) * torch.randn_like(clean)
        s = wide(level)
        noisy = (1 - s) * base + s * noise
        sparsity = self.sparsity(batch["number"], batch["setting"]) if "setting" in batch else None
        with self.autocast():
            text = self.transformer.text_keys(self.text(batch["ids"]))
            flow = self.transformer.teach(clean, noisy, level, text, batch["which"], data.SLOTS, sparsity,
                                          self.block or nets.teach_block)
        error = (noisy - s * flow - latent).pow(2).mean(3)
        # Actors are small: they count more.
        near = batch["near"]
        share = 1 + self.a.actors * near
        per = (error * share).sum((2, 3, 4)) / share.sum((2, 3, 4))
        totals.add(error.detach(), near, torch.where(exact, pick, 4), fresh, batch["kind"], batch["weight"])
        weight = batch["weight"] * (1 + 0.5 * fresh)
        return (per / level.clamp(min=0.3) ** 2 * weight).sum() / weight.sum()

    def settings(self, count):
        """Which of SPARSITIES each clip is trained with: mostly the model's own."""
        return torch.multinomial(torch.tensor([.5, .25, .25], device=self.device), count, replacement=True)

    def sparsity(self, number, setting):
        if not hasattr(self, "growth"):
            self.growth = torch.tensor([[nets.sparsity_of(i, *s) for i in range(1024)] for s in SPARSITIES],
                                       dtype=torch.float64, device=self.device)
        return self.growth[setting[:, None], number.clamp(max=1023)]

    @torch.no_grad()
    def roll(self, clips, sparse=False, truth=True):
        """Let the averaged model make clips from its own cache.

        Some begin with true chunks: those that jump in time, so that their past is that of a
        long stream.  truth=False: all of every clip is made.
        """
        model, text = self.average
        b, chunks = clips["number"].shape
        dev = self.device
        outs, last = [], []
        begin = torch.where(clips["odd"].any(1), 3, 0) * truth
        if sparse:
            clips["setting"] = self.settings(b)
        with self.autocast():
            keys = model.text_keys(text(clips["ids"]))
            cache = model.empty_cache(b, dev, torch.bfloat16 if dev.type == "cuda" else torch.float32)
            for i in range(chunks):
                k = [(p[clips["which"][:, i]], q[clips["which"][:, i]]) for p, q in keys]
                noise = [torch.randn_like(clips["latent"][:, i]) for _ in nets.LEVELS]
                fresh = clips["fresh"][:, i].view(-1, 1, 1, 1, 1)
                noise[0] = torch.where(fresh, data.coupled_noise(clips["code"][:, i]), noise[0])
                steps = []
                share = self.sparsity(clips["number"][:, i:i + 1], clips["setting"])[:, 0] if sparse else None
                clean, cache = model.sample(noise, k, cache, keep=steps, sparsity=share,
                                            truth=clips["latent"][:, i], given=begin > i)
                outs.append(clean.float())
                last.append(torch.stack([x.half() for x in steps], 1))
        # A first chunk is made with its noise, even where the true one was given.
        return dict(clips, made=torch.stack(outs, 1), steps=torch.stack(last, 1))

    @torch.no_grad()
    def evaluate(self, sparse=False):
        """Free-running error on trained and held-out combinations of one actor; 1 is what a mean picture gets."""
        for name, held in (("trained", False), ("held out", True)):
            sample = lambda r: captions.sample_test(r, held)
            bank = data.Bank(self.tokenizer, self.a.tests, 7, self.device, sample)
            pool = data.Pool(bank, self.encoder, self.a.tests, self.device, data.LONG, late=0)
            pool.origin.zero_()
            while pool.filled < self.a.tests:
                pool.renew(64)
            clips = pool.clips(self.a.tests, switch=0)
            made = self.roll(clips, sparse, truth=False)
            error = (made["made"] - clips["latent"]).pow(2).mean(3)
            energy = (clips["latent"] - clips["latent"].mean((0, 1, 2))).pow(2).mean(3)
            near = clips["near"]
            ratio = lambda w: ((error * w).sum((0, 2, 3, 4)) / (energy * w).sum((0, 2, 3, 4)).clamp(min=1e-6)).tolist()
            show = lambda row: " ".join(f"{x:.3f}" for x in row)
            self.log(f"free-running, {name}, by chunk: all {show(ratio(torch.ones_like(near)))} | "
                     f"actor {show(ratio(near))}")
            kind = clips["kind"][:, 0]
            self.log("  actor, first chunk, by kind: " + " ".join(
                f"{k} {ratio(near * (kind == i).view(-1, 1, 1, 1, 1))[0]:.2f}" for i, k in enumerate(captions.KINDS)))

    def sync(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    # --------------------------------------------------------------- samples
    @torch.no_grad()
    def samples(self, name="samples.png", chunks=7, prompts=PROMPTS, seed=1, shown=6, sparse=False):
        """A contact sheet, a row a prompt, at half size."""
        model, text = self.average
        g = torch.Generator(self.device).manual_seed(seed)
        ids = torch.tensor([self.tokenizer(p) for p in prompts], device=self.device)
        outs = []
        with self.autocast():
            keys = model.text_keys(text(ids))
            cache = model.empty_cache(len(ids), self.device,
                                      torch.bfloat16 if self.device.type == "cuda" else torch.float32)
            for i in range(chunks):
                noise = [torch.randn(len(ids), 3, 16, *nets.GRID, device=self.device, generator=g) for _ in nets.LEVELS]
                share = torch.full((len(ids),), nets.sparsity_of(i), device=self.device) if sparse else None
                clean, cache = model.sample(noise, keys, cache, sparsity=share)
                outs.append(clean.float())
            latents = torch.cat(outs, 1)
            frames = []
            for z in latents.split(1):
                # Short pieces: the decoder needs only a little past.
                for i in torch.linspace(1, latents.shape[1] - 1, shown).long().tolist():
                    frames.append(self.decoder(z[:, max(0, i - 4):i + 1])[0, -1].clamp(0, 1))
        self.picture_sheet(name, [F.avg_pool2d(f, 2) for f in frames], shown)
        rms = [f"{c.pow(2).mean().sqrt().item():.2f}" for c in outs[::max(1, chunks // 8)]]
        self.log(f"{name}: latent rms by chunk " + " ".join(rms))


class Totals:
    """Errors by noise level: of whole chunks, fresh and others, and of the actor by its kind."""

    def __init__(self, device):
        self.whole = torch.zeros(2, 4, 2, device=device)
        self.actor = torch.zeros(2, 8, 4, 2, device=device)
        self.recent = self.whole.clone()

    def clear(self):
        self.whole.zero_()
        self.actor.zero_()

    def add(self, error, near, level, fresh, kind, weight):
        whole, area = error.mean((2, 3, 4)), near.sum((2, 3, 4))
        actor = (error * near).sum((2, 3, 4))
        at = torch.arange(4, device=error.device)
        hit = (level[..., None] == at) & (weight > 0)[..., None]
        kinds = kind[..., None] == torch.arange(8, device=error.device)
        for row, mask in enumerate((fresh, ~fresh)):
            h = (hit & mask[..., None]).float()
            sums = torch.stack([(h * whole[..., None]).sum((0, 1)), h.sum((0, 1))], 1)
            self.whole[row] += sums
            self.recent[row] += sums
            for part, value in ((0, actor), (1, area)):
                self.actor[row, :, :, part] += torch.einsum("bsk,bsl->kl", kinds * value[..., None], h)

    def line(self):
        mean = (self.recent[..., 0] / self.recent[..., 1].clamp(min=1)).tolist()
        self.recent.zero_()
        show = lambda row: " ".join(f"{x:.4f}" for x in row)
        return f"error by level: fresh {show(mean[0])}, others {show(mean[1])}"

    def table(self):
        mean = (self.actor[..., 0] / self.actor[..., 1].clamp(min=1)).tolist()
        show = lambda row: " ".join(f"{x:.3f}" for x in row)
        lines = [f"{k:>10}  fresh {show(mean[0][i])}  others {show(mean[1][i])}" for i, k in enumerate(captions.KINDS)]
        return "error of the actor by kind and level:\n" + "\n".join(lines)


def nn_list(*modules):
    return torch.nn.ModuleList(modules)


def picture_loss(out, video):
    """L1, with extra weight on edges in space and time and on coarse scales."""
    d = out - video
    l1 = d.abs().mean()
    edges = (d[..., 1:] - d[..., :-1]).abs().mean() + (d[..., 1:, :] - d[..., :-1, :]).abs().mean()
    moves = (d[:, 1:] - d[:, :-1]).abs().mean()
    coarse = sum(F.avg_pool2d(d.flatten(0, 1), k).abs().mean() for k in (4, 16))
    return l1 + 0.6 * edges + 0.3 * moves + 0.5 * coarse + 6.0 * d.pow(2).mean(), l1


def load_parts(folder):
    state = {}
    for path in sorted(glob.glob(os.path.join(folder, "model-*.safetensors"))):
        state.update(load_file(path))
    return state


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--out", required=True)
    a.add_argument("--minutes", type=float, default=40)
    a.add_argument("--stages", help="minutes of each stage, e.g. codec=4,teach=12,rollout=6,sparse=2")
    a.add_argument("--resume", help="output folder of an earlier run")
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--device", default="cuda")
    a.add_argument("--rate", type=float, default=1e-3)
    a.add_argument("--decay", type=float, default=0.4, help="last share of a stage in which the rate falls")
    a.add_argument("--actors", type=float, default=5, help="extra weight of what belongs to an actor")
    a.add_argument("--own", type=float, default=0.7,
                   help="most of the way from the true past to the model's own, in rollout and sparse")
    a.add_argument("--no-compile", dest="compile", action="store_false")
    for name, value, text in (
            ("batch", 40, "rows of a step"), ("sparse-batch", 16, "the same in the sparse stage"),
            ("rolls", 96, "clips the model makes at once"), ("uses", 6, "steps that learn from them"),
            ("bank", 30000, "scenes"), ("pool", 16384, "encoded clips"), ("first", 2048, "of them before the first step"),
            ("renew", 64, "clips made anew at a time"), ("every", 8, "steps between"),
            ("tests", 128, "clips of an evaluation"), ("codec-batch", 16, "crops of a step"),
            ("pictures", 1024, "clips that crops come from"), ("long", 40, "chunks of the long samples")):
        a.add_argument("--" + name, type=int, default=value, help=text)
    return a.parse_args()


def main():
    a = arguments()
    run = Run(a)
    m = a.minutes
    stages = a.stages or f"codec={m * .12},teach={m * .60},rollout={m * .18},sparse={m * .07}"
    for part in stages.split(","):
        stage, minutes = part.split("=")
        if stage == "codec":
            run.codec(float(minutes))
            continue
        run.generator(float(minutes), stage)
        run.save(stage)
        if run.ranks.first:
            run.samples(sparse=stage == "sparse")
            run.evaluate(stage == "sparse")
    if run.ranks.first:
        run.samples("long.png", chunks=a.long, prompts=PROMPTS[:8], seed=2, shown=10, sparse=stage == "sparse")
    run.ranks.end()


if __name__ == "__main__":
    main()
