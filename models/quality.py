"""What sparse attention costs the default model, and how well its videos follow their prompts.

    bench/quality BEFORE.safetensors AFTER.safetensors --classifier C.safetensors --html q.html --json q.json
    bench/quality MODEL.safetensors --prompts 4 --chunks 4 --streams 0          # a small run, on a CPU
    bench/quality MODEL.safetensors --check                                     # against models/reference.py
    bench/quality --element build                                               # judge what lightforcesrc makes
    bench/quality --element build --change 4    # and what it makes of a new prompt after --chunks chunks of another
    bench/quality --stream video.rgb            # figures over time of raw 256x160 RGB pictures; - is standard input
    bench/quality --sheet docs/sheets sea.rgb city.rgb        # a PNG of each raw video; --sheet x.png: one, a row each

From the same noise: dense attention; one-stage top blocks with the same sparsity in every chunk; with Chunk-Aware
Growth (CAG) on top; with Hierarchical Sparse Attention (HSA) on top of that.  The first chunk is dense in all of them.
CAG spends in sum what the uniform sparsity does: that is set so that it holds after rounding to whole blocks.
Teacher-forced: every chunk is made from dense attention's past.  Free-running: from its own.  Prompts are
paraphrased captions of combinations that are held out of the training.
"""
import argparse
import base64
import concurrent.futures
import io
import json
import math
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time

import torch
from PIL import Image

import captions as C
import classifier as judge
import quality_measure as measure
import quality_model
import quality_report as report
import world

HERE = os.path.dirname(os.path.abspath(__file__))
BASES = {0.8: 0.9, 0.9: 0.95}
DENSE = "dense"


def settings(model, targets, chunks):
    """{name: sparse settings}: block sizes and frames to keep are the packed file's; all of its settings: "packed"."""
    packed = dict(quality_model.DEFAULT_SPARSE, **(model.config.get("sparse") or {}))
    packed["total_frames"] = chunks * model.c["chunk_frames"]
    out = {DENSE: None}
    if model.config.get("sparse"):
        out["packed"] = dict(packed, total_frames=model.config["sparse"]["total_frames"])
    for target in targets:
        s = dict(packed, target=target, base=BASES.get(target, (1 + target) / 2))
        one = dict(s, keep_frames=10 ** 6)
        out[f"{target} uniform"] = matched(model, one, chunks)
        out[f"{target} CAG"] = one
        out[f"{target} CAG+HSA"] = s
    return out


def share_kept(model, sparse, chunks):
    """Share of the query-key pairs of chunks 1.. that whole blocks leave of a sparsity (blocks of one size)."""
    c, n = model.c, model.grid[0] * model.grid[1]
    each, kept, every = -(-n // sparse["block_k"]), 0, 0
    for i in range(1, chunks):
        frames = (i + 1) * c["chunk_frames"]
        frames = min(frames, c["window"]) if c["window"] > 0 else frames
        kept += max(1, int((1 - model.sparsity(sparse, i)) * frames * each)) / each
        every += frames
    return kept / max(1, every)


def matched(model, one, chunks):
    """One sparsity for all chunks that costs in sum what growth does: with whole blocks, some chunks get one more."""
    aim, each = share_kept(model, one, chunks), -(-model.grid[0] * model.grid[1] // one["block_k"])
    out, due, spent = [0.0], 0.0, 0
    for i in range(1, chunks):
        frames = (i + 1) * model.c["chunk_frames"]
        blocks = each * (min(frames, model.c["window"]) if model.c["window"] > 0 else frames)
        due += aim * blocks
        count = max(1, round(due - spent))
        spent += count
        out.append(1 - (count + 0.5) / blocks)
    return dict(one, uniform=out)


def noise_for(model, count, seed):
    """A function that makes the noises of the next chunk of `count` streams; the same on every machine."""
    source = torch.Generator().manual_seed(seed)
    return lambda: [torch.randn(count, *model.shape, generator=source).to(model.device) for _ in model.steps]


class Sums:
    """Values of every prompt, one a chunk, by name."""

    def __init__(self):
        self.parts = {}

    def add(self, name, values):
        self.parts.setdefault(name, []).append(values.detach().float().cpu())

    def means(self):
        return {k: torch.stack(v).mean(0) for k, v in self.parts.items()}


def latent_error(a, b):
    """Root of the squared error over that of the square of b, per clip."""
    return ((a - b).pow(2).mean((1, 2, 3, 4)) / b.pow(2).mean((1, 2, 3, 4))).sqrt()


@torch.no_grad()
def compare(model, cases, prompts, chunks, seed, trace):
    """One batch of prompts -> {setting: dict(values {name: [B]}, pictures [B, N, 3, H, W], kept, seen)}."""
    noises = noise_for(model, len(prompts), seed)
    sums, pictures = {name: Sums() for name in cases}, {name: [] for name in cases}
    dense, memory, streams, seen = model.start(prompts), {}, {}, {}
    for i in range(chunks):
        noise, past = noises(), model.past(dense)
        truth = model.sample(dense, past, noise)
        shown, after = model.decoder(truth, memory)
        pictures[DENSE].append(shown.half())
        for name, sparse in cases.items():
            if name == DENSE:
                continue
            if i == 0:
                pictures[name].append(shown.half())
                continue
            stream = streams[name]
            for kind, clean, video in (
                    ("forced", model.sample(dense.fork(), past, noise, sparse), None),
                    ("free", None, None)):
                if kind == "free":
                    own = model.past(stream["stream"])
                    clean = model.sample(stream["stream"], own, noise, sparse)
                    model.advance(stream["stream"], own, clean, sparse)
                    video, stream["memory"] = model.decoder(clean, stream["memory"])
                    pictures[name].append(video.half())
                    if stream["stream"].trace is not None:
                        seen.setdefault(name, {})[i] = list(stream["stream"].numbers)
                else:
                    video = model.decoder(clean, memory)[0]
                sums[name].add(f"{kind} latent", latent_error(clean, truth))
                sums[name].add(f"{kind} PSNR", measure.psnr(video, shown))
                sums[name].add(f"{kind} SSIM", measure.ssim(video, shown))
        model.advance(dense, past, truth)
        memory = after
        if i == 0:
            streams = {name: dict(stream=dense.fork(), memory=memory) for name in cases if name != DENSE}
            if trace in streams:
                streams[trace]["stream"].trace = []
    out = {}
    for name in cases:
        video = torch.cat(pictures.pop(name), 1)
        # Of long videos, only those of one setting are on the device at a time.
        out[name] = dict(values=sums[name].means() if sums[name].parts else {}, pictures=video.cpu(), kept=1.0,
                         seen=None)
        out[name]["values"].update(motion=measure.flow(video).cpu(), flicker=measure.flicker(video).cpu())
        if name != DENSE:
            kept = streams[name]["stream"].kept
            out[name]["kept"] = (sum(float(k) * f for k, f in kept) / sum(f for _, f in kept)) if kept else 1.0
        if name == trace and name in streams:
            out[name]["seen"] = streams[name]["stream"].trace, seen.get(name, {})
    return out


def frame_map(trace, numbers, layer, head):
    """Rows of the map: chunk, {frame number: share of its query blocks that may look at this frame}."""
    rows, done = [], set()
    for chunk, i, seen in trace:
        if i == layer and chunk not in done and chunk in numbers:
            done.add(chunk)
            share = seen[head].float().mean(0).tolist()
            rows.append(dict(chunk=chunk, frames=dict(zip(numbers[chunk], share))))
    return rows


@torch.no_grad()
def drift(path, device, targets, prompts, seconds, seed):
    """Long streams, dense, as packed and with both methods -> {setting: rows of measure.Drift, JPEG of three}."""
    torch.set_float32_matmul_precision("high")
    model = quality_model.Model(path, device)
    rate = model.config["video"]["framerate"][0] / model.config["video"]["framerate"][1]
    chunks = math.ceil((seconds * rate + 3) / (4 * model.c["chunk_frames"]))
    out = {}
    for name, sparse in settings(model, targets, chunks).items():
        if name.endswith(("uniform", "CAG")):
            continue
        noises, stream, memory = noise_for(model, len(prompts), seed), model.start(prompts), {}
        figures, kept, made = measure.Drift(), [], 0
        for _ in range(chunks):
            video, memory = model.decoder(model.chunk(stream, noises(), sparse), memory)
            stream.kept.clear()
            if made >= len(kept) * 10 * rate:
                kept.append(video[:3, -1].float().cpu())
            made += video.shape[1]
            figures.add(video)
        out[name] = dict(rows=figures.finish(), jpeg=jpeg(torch.cat([torch.cat(list(p), 1) for p in kept], 2)))
    return out


class Beside:
    """A function's result from a process of its own, so that small kernels of two of them fill a GPU better."""

    def __init__(self, function, *arguments):
        self.pool = concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        self.future = self.pool.submit(function, *arguments)

    def result(self):
        with self.pool:
            return self.future.result()


def scores(answer, scenes):
    """-> {attribute: dict(share, count, mistakes)}, mean share, score of every prompt."""
    marks = judge.mark(answer, scenes, mentioned=True)
    table = {}
    for name in judge.CLASSES:
        value, count = judge.share(marks, name)
        table[name] = dict(share=value, count=count, mistakes=judge.mistakes(marks, name))
    known = [v["share"] for v in table.values() if v["share"] is not None]
    each = []
    for i in range(len(scenes)):
        rights = [m["right"][i] for m in marks.values() if m["right"][i] is not None]
        each.append(sum(rights) / max(1, len(rights)))
    return table, sum(known) / len(known), each


def join(answers):
    return {k: torch.cat([a[0][k] for a in answers]) for k in judge.CLASSES}, torch.cat([a[1] for a in answers])


def measured(a, path, scenes, prompts, eye, first, long):
    """All figures of one model file.

    first: pictures of dense attention of the first file, by batch; long: the drift, being made beside.
    """
    began, model = time.time(), quality_model.Model(path, a.device)
    cases = settings(model, a.sparsity, a.chunks)
    trace = f"{max(a.sparsity)} CAG+HSA" if a.sparsity else "packed"
    out = {name: dict(values={}, kept=[], answers=[]) for name in cases}
    rows, sheets, dense = [], [], []
    for start in range(0, len(prompts), a.batch):
        part = prompts[start:start + a.batch]
        made = compare(model, cases, part, a.chunks, a.seed * 1000 + start, trace if start == 0 else None)
        for name, r in made.items():
            if first is not None:
                skip = 4 * model.c["chunk_frames"] - 3 if name != DENSE else 0
                mine, theirs = (p[:, skip:].to(a.device) for p in (r["pictures"], first[start // a.batch]))
                r["values"]["PSNR to first"] = measure.psnr(mine, theirs).cpu()
            for k, v in r["values"].items():
                out[name]["values"].setdefault(k, []).extend(v.tolist())
            out[name]["kept"].append(r["kept"])
            if eye is not None:
                out[name]["answers"].append(judge.answers(eye, r["pictures"].to(a.device)))
            if r["seen"]:
                rows = frame_map(*r["seen"], min(a.layer, model.c["layers"] - 1), a.head)
        dense.append(made[DENSE]["pictures"])
        if start == 0:
            for i in range(min(a.shown, len(part))):
                sheets.append(dict(prompt=part[i], rows=[
                    dict(name=name, jpeg=jpeg(strip(r["pictures"][i], 6))) for name, r in made.items()]))
    for name, r in out.items():
        r["kept"] = measure.average(r["kept"])
        if eye is not None:
            r["score"], r["mean score"], r["values"]["score"] = scores(join(r.pop("answers")), scenes)
        else:
            r.pop("answers")
    compared = time.time() - began
    long = long.result() if long else {}
    print(f"{path}: compared in {compared:.1f} s, streams of {a.seconds} s ready after {time.time() - began:.1f} s",
          flush=True)
    return dict(path=os.path.basename(path), settings=out, drift=long, map=rows, sheets=sheets,
                layer=min(a.layer, model.c["layers"] - 1), head=a.head, cases=cases, cache=model.config["cache"]), dense


def rendered(a, scenes, eye):
    """The same scenes as world.py renders them: what the judge can reach, and how much really moves."""
    pictures, source = 12 * a.chunks - 3, torch.Generator().manual_seed(a.seed)
    values, found = dict(motion=[], flicker=[]), []
    for start in range(0, len(scenes), a.batch):
        part = scenes[start:start + a.batch]
        video = judge.scene_clips(part, pictures, torch.device(a.device),
                                  torch.rand(len(part), world.CODES, generator=source),
                                  split=max(1, 960 // pictures))
        values["motion"] += measure.flow(video).tolist()
        values["flicker"] += measure.flicker(video).tolist()
        if eye is not None:
            found.append(judge.answers(eye, video))
    out = dict(values=values)
    if eye is not None:
        out["score"], out["mean score"], out["values"]["score"] = scores(join(found), scenes)
    return out


# ------------------------------------------------------------------ raw pictures
def strip(video, shown):
    """`shown` pictures of [N, 3, H, W], evenly spread, side by side."""
    return torch.cat(list(video[torch.linspace(0, len(video) - 1, shown).long()].float()), 2).cpu()


def image(picture):
    return Image.fromarray((picture.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())


def jpeg(picture, scale=0.6):
    """[3, H, W] -> base64 of a JPEG."""
    im, out = image(picture), io.BytesIO()
    im.resize((round(im.width * scale), round(im.height * scale)), Image.LANCZOS).save(out, "JPEG", quality=82)
    return base64.b64encode(out.getvalue()).decode()


def raw_pictures(path, width, height, count):
    """Raw RGB pictures of a file or standard input, up to `count` at a time, as [1, n, 3, H, W] in [0, 1]."""
    size = width * height * 3
    f = sys.stdin.buffer if path == "-" else open(path, "rb")
    with f:
        while len(block := f.read(size * count)) >= size:
            n = len(block) // size
            flat = torch.frombuffer(bytearray(block[:n * size]), dtype=torch.uint8)
            yield flat.view(1, n, height, width, 3).permute(0, 1, 4, 2, 3).float() / 255


def stream(a):
    """Figures over time of one raw video."""
    w, h = map(int, a.size.split("x"))
    figures = measure.Drift(a.per)
    print(f"{'seconds':>13} {'mean':>7} {'deviation':>9} {'flicker':>8} {'flow px/s':>9}")
    printed = 0
    for video in raw_pictures(a.stream, w, h, a.per * 16):
        figures.add(video)
        printed = print_rows(figures.rows, printed, a.per)
    print_rows(figures.finish(), printed, a.per)
    rows = figures.rows
    if not rows:
        raise SystemExit("no pictures")
    for name in ("mean", "deviation", "flicker", "flow"):
        v = [r[name][0] for r in rows]
        middle = measure.average(v)
        spread = math.sqrt(measure.average((x - middle) ** 2 for x in v))
        x0 = (len(v) - 1) / 2
        slope = sum((i - x0) * y for i, y in enumerate(v)) / max(1e-9, sum((i - x0) ** 2 for i in range(len(v))))
        print(f"{name:>10}: mean {middle:.4f}, deviation over time {spread:.4f}, "
              f"trend {slope * 60 / a.per:+.4f} a minute, least {min(v):.4f}, most {max(v):.4f}")
    if a.json:
        with open(a.json, "w") as f:
            json.dump([dict({k: v[0] for k, v in r.items()}, start=i * a.per) for i, r in enumerate(rows)], f, indent=1)


def print_rows(rows, printed, per):
    for i in range(printed, len(rows)):
        r = {k: v[0] for k, v in rows[i].items()}
        print(f"{i * per:6} - {i * per + per:4} {r['mean']:7.2f} {r['deviation']:9.2f} {r['flicker']:8.4f} "
              f"{r['flow']:9.2f}", flush=True)
    return len(rows)


def sheet(a):
    """Contact sheets of raw videos: of each one a PNG of --rows x --columns pictures, or one PNG with a row of each."""
    w, h = map(int, a.size.split("x"))
    single = a.sheet.endswith(".png")
    lines = []
    for path in a.files:
        video = torch.cat(list(raw_pictures(path, w, h, 160)), 1)[0]
        line = strip(video, a.columns * (1 if single else a.rows))
        if single:
            lines.append(line)
            continue
        os.makedirs(a.sheet, exist_ok=True)
        out = os.path.join(a.sheet, os.path.splitext(os.path.basename(path))[0] + ".png")
        image(torch.cat(line.split(w * a.columns, 2), 1)).save(out, optimize=True)
        print(f"{out}: {len(video)} pictures")
    if single:
        image(torch.cat(lines, 1)).save(a.sheet, optimize=True)
        print(f"{a.sheet}: {len(lines)} videos")


# -------------------------------------------------------------------- the element
def timed(seconds):
    """As prompt-file has it; not later than `seconds`."""
    ms = int(seconds * 1000)
    return f"{ms // 3600000:02}:{ms // 60000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"


@torch.no_grad()
def element(a, scenes, prompts, eye):
    """What the judge sees in videos that lightforcesrc makes of the prompts, seed 0, 1, ...

    a.change: each begins with the prompt before, and is judged from the first chunk of its own on.
    """
    first = 12 * a.chunks - 3
    pictures = first + 12 * a.change
    tree = [] if a.element == "-" else ["meson", "devenv", "-C", a.element]

    def run(seed):
        lines = [(0, prompts[seed])]
        if a.change:
            lines = [(0, prompts[seed - 1]), (first / 16, prompts[seed])]
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as script:
            script.writelines(f"{timed(at)} {text}\n" for at, text in lines)
            script.flush()
            raw = subprocess.run([*tree, "gst-launch-1.0", "-q", "lightforcesrc", f"prompt-file={script.name}",
                                  f"seed={seed}", f"model={os.path.abspath(a.files[0])}", f"num-buffers={pictures}",
                                  *a.properties, "!", "video/x-raw,format=RGB", "!", "fdsink"],
                                 check=True, stdout=subprocess.PIPE).stdout
        video = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(1, pictures, world.HEIGHT, world.WIDTH, 3)
        return video.permute(0, 1, 4, 2, 3)[:, first if a.change else 0:]

    with concurrent.futures.ThreadPoolExecutor(a.jobs) as pool:
        found = [judge.answers(eye, v.to(a.device).float() / 255) for v in pool.map(run, range(len(prompts)))]
    table, mean, each = scores(join(found), scenes)
    for seed in sorted(range(len(prompts)), key=lambda i: each[i]):
        if each[seed] < 1:
            print(f"{each[seed]:.2f} seed {seed}: {prompts[seed]}")
    return {"score": table, "mean score": mean}


# --------------------------------------------------------------------------- main
def arguments():
    a = argparse.ArgumentParser(prog="quality", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("files", nargs="*", help="one or two packed models: before and after sparse fine-tuning")
    a.add_argument("--check", action="store_true", help="hold the batched model against reference.py")
    a.add_argument("--stream", metavar="FILE", help="raw RGB pictures: print drift and flicker over time")
    a.add_argument("--sheet", metavar="OUT", help="lay out raw videos as contact sheets")
    a.add_argument("--element", metavar="BUILD",
                   help="only judge what lightforcesrc of a built tree (-: of the environment) makes of MODEL")
    a.add_argument("--change", type=int, default=0, metavar="CHUNKS",
                   help="with --element: each prompt comes after --chunks chunks of another; so many of it are judged")
    a.add_argument("--properties", nargs="*", default=[], help="of lightforcesrc, e.g. backend=cuda precision=fp8")
    a.add_argument("--jobs", type=int, default=1, help="elements at once")
    a.add_argument("--size", default=f"{world.WIDTH}x{world.HEIGHT}", help="of raw pictures")
    a.add_argument("--per", type=int, default=10, help="seconds of a line of --stream")
    a.add_argument("--columns", type=int, default=6)
    a.add_argument("--rows", type=int, default=1)
    a.add_argument("--names", nargs="*", default=["before", "after"])
    a.add_argument("--classifier", default=os.path.join(HERE, "classifier.safetensors"),
                   help="weights of models/classifier.py; empty: no scores")
    a.add_argument("--prompts", type=int, default=64)
    a.add_argument("--chunks", type=int, default=7, help="of each video; 7 are 5 seconds")
    a.add_argument("--sparsity", type=float, nargs="*", default=[0.8, 0.9],
                   help="compared; none: only dense attention and the file's own settings")
    a.add_argument("--streams", type=int, default=8, help="prompts of the long streams; 0: none")
    a.add_argument("--seconds", type=int, default=60)
    a.add_argument("--batch", type=int, default=32)
    a.add_argument("--shown", type=int, default=6, help="prompts with contact sheets")
    a.add_argument("--layer", type=int, default=4, help="of the map of selected frames")
    a.add_argument("--head", type=int, default=0)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    a.add_argument("--html")
    a.add_argument("--json")
    a = a.parse_args()
    if not a.stream and not a.files:
        a.files = [os.path.join(HERE, "lightforce-default.safetensors")]
    return a


def main():
    a = arguments()
    torch.set_float32_matmul_precision("high")
    if a.stream:
        return stream(a)
    if a.sheet:
        return sheet(a)
    if a.check:
        return quality_model.check(a.files[0])
    r, began = random.Random(a.seed), time.time()
    scenes = [C.sample_test(r) for _ in range(a.prompts)]
    prompts = [C.caption(r, s) for s in scenes]
    eye = judge.load(a.classifier, a.device) if a.classifier else None
    if a.element:
        made = dict(files=[dict(name="", settings={"lightforcesrc": element(a, scenes, prompts, eye)})],
                    rendered=rendered(a, scenes, eye))
        print(report.table_text(*report.score_rows(made)))
        for k, v in made["files"][0]["settings"]["lightforcesrc"]["score"].items():
            print(f"{k}: {v['count']} prompts, {v['mistakes'] or 'no mistakes'}")
        return None
    result = dict(prompts=prompts, chunks=a.chunks, pictures=12 * a.chunks - 3, seconds=a.seconds, streams=a.streams,
                  device=torch.cuda.get_device_name() if a.device.startswith("cuda") else "CPU", files=[])
    first, files = None, a.files[:2]
    streams = prompts[:a.streams]
    beside = "cuda:1" if a.device == "cuda" and torch.cuda.device_count() > 1 else a.device
    long = [Beside(drift, f, beside, a.sparsity, streams, a.seconds, a.seed + 7) if streams else None for f in files]
    for i, path in enumerate(files):
        figures, dense = measured(a, path, scenes, prompts, eye, first, long[i])
        first = first or dense
        figures["name"] = a.names[i] if len(a.files) > 1 and i < len(a.names) else ""
        result["files"].append(figures)
    result["rendered"] = rendered(a, scenes, eye)
    result["words"] = report.words(result)
    print(report.text(result))
    if a.json:
        with open(a.json, "w") as f:
            json.dump(report.without_pictures(result), f, indent=1)
    if a.html:
        with open(a.html, "w", encoding="utf-8") as f:
            f.write(report.page(result))
    print(f"{len(prompts)} prompts in {time.time() - began:.1f} s")


if __name__ == "__main__":
    main()
