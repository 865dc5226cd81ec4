"""Train the default model on one GPU.

    python3 models/train.py --out DIR --minutes 25

Stages, each bounded by wall clock: `codec` (encoder and streaming decoder),
`teach` (flow matching, every chunk given the true chunks before it) and
`rollout` (the same, given what the model itself made).  --resume DIR goes on
from another run's output; --stages codec=4,teach=18,rollout=6 sets minutes
(rollout is not in the default: it pays only once teach has converged).
"""
import argparse
import copy
import glob
import math
import os
import time

import torch
import torch._dynamo
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

import data
import nets
import optim
import tokenizer
import world

PROMPTS = (
    "a red ball bouncing on green hills", "a blue sailing boat on the sea at sunset",
    "a yellow star over a snowy landscape at night", "a green car driving through the desert",
    "a purple balloon rising over the city", "a white bird flying over the sea on a cloudy day",
    "an orange cube spinning in the snow while it snows", "a pink ring rolling on green hills in the rain",
    "a red car and a blue balloon in the city at night", "Rolling hills at dawn. The camera pans right.",
    "", "black ball in the desert")


class Clock:
    """Wall-clock share of one stage."""

    def __init__(self, minutes):
        self.start, self.length = time.time(), minutes * 60

    def done(self):
        return (time.time() - self.start) / self.length


class Run:
    def __init__(self, a):
        self.a, self.device = a, torch.device(a.device)
        self.started = time.time()
        os.makedirs(a.out, exist_ok=True)
        self.log_file = open(os.path.join(a.out, "log.txt"), "a")
        torch.manual_seed(a.seed)
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
        old = load_parts(a.resume) if a.resume else None
        if a.resume:
            with open(os.path.join(a.resume, "tokenizer.model"), "rb") as f:
                self.spm = f.read()
        else:
            self.spm = tokenizer.train()
        with open(os.path.join(a.out, "tokenizer.model"), "wb") as f:
            f.write(self.spm)
        self.tokenizer = tokenizer.Tokenizer(self.spm, nets.CONFIG["transformer"]["text_len"])
        parts = nets.build(self.tokenizer.sp.vocab_size())
        self.transformer, self.text, self.encoder, self.decoder = (m.to(self.device) for m in parts)
        if old:
            for name, m in self.modules().items():
                m.load_state_dict({k[len(name) + 1:]: v.float() for k, v in old.items()
                                   if k.startswith(name + ".")}, strict=False)
        self.average = copy.deepcopy(nn_list(self.transformer, self.text)).requires_grad_(False)
        self.bank = data.Bank(self.tokenizer, a.bank, a.seed, self.device)
        self.saved, self.pool = time.time(), None
        self.log(f"ready: bank of {a.bank} scenes, {sum(p.numel() for p in self.transformer.parameters()) / 1e6:.2f} M "
                 f"transformer, {sum(p.numel() for p in self.text.parameters()) / 1e6:.2f} M text, "
                 f"{sum(p.numel() for p in self.decoder.parameters()) / 1e6:.3f} M decoder")

    def modules(self):
        return dict(transformer=self.transformer, text_encoder=self.text, encoder=self.encoder,
                    decoder=self.decoder)

    def log(self, text):
        line = f"[{time.time() - self.started:6.1f} s] {text}"
        print(line, flush=True)
        print(line, file=self.log_file, flush=True)

    def autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def save(self, folder=""):
        """The averaged weights, as files below 16 MB."""
        out = os.path.join(self.a.out, folder)
        os.makedirs(out, exist_ok=True)
        state = {}
        for name, m in dict(transformer=self.average[0], text_encoder=self.average[1],
                            encoder=self.encoder, decoder=self.decoder).items():
            state.update({f"{name}.{k}": v.detach().half().cpu().contiguous() for k, v in m.state_dict().items()})
        part, size, number = {}, 0, 0
        for k in sorted(state):
            if size + state[k].numel() * 2 > 15e6:
                save_file(part, os.path.join(out, f"model-{number}.safetensors"))
                part, size, number = {}, 0, number + 1
            part[k] = state[k]
            size += state[k].numel() * 2
        save_file(part, os.path.join(out, f"model-{number}.safetensors"))
        self.saved = time.time()

    def maybe_save(self):
        if time.time() - self.saved > 110:
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
        while (done := clock.done()) < 1:
            rate = 3e-3 * min(1, (step + 1) / 100) * min(1, (1 - done) / 0.6 + 0.01)
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
            if a.resume and done < 0.12:
                # A new encoder for a known decoder: learn its latents first.
                for p in dec.parameters():
                    p.grad = torch.zeros_like(p)
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
            video = world.render(scenes, data.clip_times(16, 33, self.device)[0])
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
        pool = self.pool = self.pool or data.Pool(self.bank, self.encoder, a.pool, self.device)
        began = time.time()
        while pool.filled < min(a.pool, a.first):
            pool.renew(a.renew)
        self.sync()
        self.log(f"{stage}: pool of {pool.filled} clips, "
                 f"{pool.filled * data.PICTURES / (time.time() - began):.0f} pictures/s rendered and encoded")
        opt = optim.Muon(*optim.split([model, text]))
        forward = self.compiled(model)
        peak = a.rate if stage == "teach" else a.rate * 0.3
        totals, made, began = torch.zeros(4, 4, device=self.device), None, time.time()
        while (done := clock.done()) < 1:
            decay = min(1, (1 - done) / a.decay + 0.02) if a.decay else 1
            rate = peak * min(1, (step + 1) / 200) * decay
            if step % a.every == 0:
                pool.renew(a.renew)
            own = stage == "rollout" and step % 4 != 3
            if own:
                if made is None or made["uses"] == 0:
                    made = self.roll(pool.batch(a.batch * 2), uses=4)
                batch = self.reuse(made, a.batch)
            else:
                batch = pool.batch(a.batch)
            loss, error, level = self.flow_loss(forward, batch)
            loss = loss + self.first_loss(forward, pool.batch(2 * a.fresh, switch=0))
            opt.zero()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_([p for m in (model, text) for p in m.parameters()], 1.0)
            opt.step(rate)
            keep = min(0.998, (1 + step) / (20 + step))
            with torch.no_grad():
                live = [p for m in (model, text) for p in m.parameters()]
                torch._foreach_lerp_(list(self.average.parameters()), live, 1 - keep)
            self.tally(totals, error, level, batch["fresh"])
            if step % 100 == 0:
                self.sync()
                self.log(f"{stage} {step}: loss {loss.item():.4f} norm {norm.item():.2f} rate {rate:.1e} "
                         f"{(time.time() - began) / max(step, 1) * 1e3:.0f} ms/step pool {pool.filled} | "
                         + self.report(totals))
                totals.zero_()
                self.maybe_save()
            step += 1
        self.log(f"{stage} done: {step} steps")
        self.save()

    def compiled(self, model):
        """Compile one block and use it for all; plain PyTorch where that fails."""
        if self.a.compile and not model.blocks[0].compiled:
            torch._dynamo.config.suppress_errors = True
            for block in model.blocks:
                block.compiled = torch.compile(block.teach, dynamic=False)
        return model.teach

    def flow_loss(self, forward, batch):
        """Error of the predicted clean chunk at the sampler's levels (mostly) or any level."""
        latent, fresh, dev = batch["latent"], batch["fresh"], self.device
        b, n = fresh.shape
        pick = torch.multinomial(torch.tensor([.30, .20, .25, .25], device=dev), b * n, replacement=True).view(b, n)
        exact = torch.rand(b, n, device=dev) < 0.9
        level = torch.where(exact, torch.tensor(nets.LEVELS, device=dev)[pick],
                            0.02 + 0.98 * torch.rand(b, n, device=dev))
        wide = lambda m: m.reshape(b, n, 1, 1, 1, 1)
        # At high noise the code in the noise tells where things are ...
        high = (level > 0.9) & fresh
        noise = torch.where(wide(high), data.coupled_noise(batch["code"]), torch.randn_like(latent))
        if "steps" in batch:
            step = (pick - 1).clamp(min=0)
            base = batch["steps"].flatten(0, 1)[torch.arange(b * n, device=dev), step.flatten()].view_as(latent)
            clean = batch["clean"]
        else:
            # ... and what shows through of another composition must not matter.
            base = torch.where(wide(high), latent.roll(1, 0), latent)
            # A model's own past is never quite clean.
            dirt = 0.15 * torch.rand(b, 1, device=dev) * (torch.rand(b, 1, device=dev) < 0.5)
            clean = latent + wide(dirt.expand(b, n)) * torch.randn_like(latent)
        s = wide(level)
        noisy = (1 - s) * base + s * noise
        with self.autocast():
            text = self.transformer.text_keys(self.text(batch["ids"]))
            flow = forward(clean if n > 1 else None, noisy, level, text, batch["which"])
        error = (noisy - s * flow - latent).pow(2).mean((2, 3, 4, 5))
        loss = (error / level.clamp(min=0.3) ** 2 * batch["weight"] * (1 + fresh)).mean()
        return loss, error.detach(), torch.where(exact, pick, 4)

    def first_loss(self, forward, batch):
        """More first chunks: they are the hardest, and cheap, because nothing comes before them."""
        one = {k: v[:, :1] for k, v in batch.items() if k in ("latent", "code", "which", "fresh", "weight")}
        one["ids"] = batch["ids"][:len(batch["latent"])]
        return self.flow_loss(forward, one)[0]

    @torch.no_grad()
    def roll(self, batch, uses):
        """Let the averaged model make the clips of a batch from its own cache."""
        model, text = self.average
        b = len(batch["latent"])
        outs, last = [], []
        with self.autocast():
            keys = model.text_keys(text(batch["ids"]))
            cache = model.empty_cache(b, self.device, torch.bfloat16 if self.device.type == "cuda" else torch.float32)
            for i in range(data.CHUNKS):
                k = [(p[batch["which"][:, i]], q[batch["which"][:, i]]) for p, q in keys]
                noise = [torch.randn_like(batch["latent"][:, i]) for _ in nets.LEVELS]
                fresh = batch["fresh"][:, i].view(-1, 1, 1, 1, 1)
                noise[1] = torch.where(fresh, data.coupled_noise(batch["code"][:, i]), noise[1])
                steps = []
                clean, cache = model.sample(noise, k, cache, keep=steps)
                outs.append(clean.float())
                last.append(torch.stack([x.float() for x in steps], 1))
        batch.update(clean=torch.stack(outs, 1), steps=torch.stack(last, 1), uses=uses,
                     weight=(~batch["jumped"]).float())
        return batch

    def reuse(self, made, count):
        """A random part of a made batch: what the model sees is its own work, the aim is the truth."""
        made["uses"] -= 1
        pick = torch.randperm(len(made["latent"]), device=self.device)[:count]
        part = {k: made[k][pick] for k in ("latent", "code", "which", "fresh", "weight", "clean", "steps")}
        whole = len(made["latent"])
        part["ids"] = torch.cat([made["ids"][:whole][pick], made["ids"][whole:][pick]])
        other = part["which"] >= whole
        part["which"] = torch.arange(count, device=self.device)[:, None] + count * other
        return part

    def tally(self, totals, error, level, fresh):
        """Sums and counts of the error of fresh and other chunks at the sampler's levels."""
        for row, mask in ((0, fresh), (2, ~fresh)):
            for j in range(4):
                hit = (level == j) & mask
                totals[row, j] += (error * hit).sum()
                totals[row + 1, j] += hit.sum()

    def report(self, totals):
        mean = (totals[0::2] / totals[1::2].clamp(min=1)).tolist()
        show = lambda row: " ".join(f"{x:.4f}" for x in row)
        return f"error by level: fresh {show(mean[0])}, others {show(mean[1])}"

    def sync(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    # --------------------------------------------------------------- samples
    @torch.no_grad()
    def samples(self, name="samples.png", chunks=7, prompts=PROMPTS, seed=1, shown=6):
        model, text = self.average
        g = torch.Generator(self.device).manual_seed(seed)
        ids = torch.tensor([self.tokenizer(p) for p in prompts], device=self.device)
        outs = []
        with self.autocast():
            keys = model.text_keys(text(ids))
            cache = model.empty_cache(len(ids), self.device, torch.bfloat16 if self.device.type == "cuda" else torch.float32)
            for _ in range(chunks):
                noise = [torch.randn(len(ids), 3, 16, *nets.GRID, device=self.device, generator=g) for _ in nets.LEVELS]
                clean, cache = model.sample(noise, keys, cache)
                outs.append(clean.float())
            latents = torch.cat(outs, 1)
            rows = []
            for z in latents.split(1):
                video = self.decoder(z)[0].clamp(0, 1)
                rows += [video[i] for i in torch.linspace(0, len(video) - 1, shown).long()]
        self.picture_sheet(name, rows, shown)
        self.log(f"{name}: latent rms by chunk " + " ".join(f"{c.pow(2).mean().sqrt().item():.2f}" for c in outs[::max(1, chunks // 8)]))


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
    a.add_argument("--minutes", type=float, default=25)
    a.add_argument("--stages", help="minutes of each stage, e.g. codec=4,teach=12,rollout=6")
    a.add_argument("--resume", help="output folder of an earlier run")
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--device", default="cuda")
    a.add_argument("--rate", type=float, default=1e-3)
    a.add_argument("--decay", type=float, default=0.4, help="last share of a stage in which the rate falls")
    a.add_argument("--no-compile", dest="compile", action="store_false")
    for name, value in (("batch", 48), ("fresh", 64), ("codec-batch", 16), ("pictures", 1024), ("bank", 40000), ("pool", 16384), ("first", 2048),
                        ("renew", 64), ("every", 8)):
        a.add_argument("--" + name, type=int, default=value)
    return a.parse_args()


def main():
    a = arguments()
    run = Run(a)
    stages = a.stages or f"codec={a.minutes * .18},teach={a.minutes * .79}"
    for part in stages.split(","):
        stage, minutes = part.split("=")
        if stage == "codec":
            run.codec(float(minutes))
        else:
            run.generator(float(minutes), stage)
            run.samples(f"{stage}.png")
            if stage == "teach":
                run.save("taught")  # kept, to compare with what rollout makes of it
    run.samples("long.png", chunks=40, prompts=PROMPTS[:8], seed=2, shown=10)


if __name__ == "__main__":
    main()
