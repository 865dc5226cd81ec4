"""Make a video from a packed model with the plain definition, on the CPU.

    python3 models/sample.py "a red ball bouncing on green hills" --out ball.png
    python3 models/sample.py "a city at night" --chunks 7 --out city.mp4      (needs ffmpeg)
"""
import argparse
import json
import subprocess
import time

import torch
from PIL import Image
from safetensors import safe_open

import reference
import tokenizer


def load(path):
    with safe_open(path, "pt") as f:
        config = json.loads(f.metadata()["lightforce"])
        tensors = {k: f.get_tensor(k) for k in f.keys()}
    part = lambda p: {k[len(p):]: v.float() for k, v in tensors.items() if k.startswith(p)}
    return config, part("transformer."), part("text_encoder."), part("decoder."), bytes(tensors["tokenizer.model"])


@torch.no_grad()
def sample(path, prompts, chunks=3, seed=0, sparse=True):
    """Pictures [n, 3, H, W] in [0, 1].  prompts: {chunk number: prompt that begins there}."""
    config, transformer, text, decoder, spm = load(path)
    c = dict(config["transformer"], **config["cache"], sparse=config.get("sparse") if sparse else None)
    words = tokenizer.Tokenizer(spm, c["text_len"])
    generator = reference.Generator(transformer, c)
    pictures = reference.TinyDecoder(decoder)
    noise = torch.Generator().manual_seed(seed)
    shape = c["chunk_frames"], c["z"], config["video"]["height"] // 8, config["video"]["width"] // 8
    steps, out = config["sampling"]["steps"], []
    for i in range(chunks):
        if i in prompts:
            ids = torch.tensor(words(prompts[i]))
            e = config["text_encoder"]
            generator.set_text(reference.t5_encode(text, ids, int((ids != 0).sum()), e["heads"], e["layers"]))
        latent = generator.chunk([torch.randn(shape, generator=noise) for _ in steps], steps,
                                 config["sampling"]["shift"])
        out.append(pictures.decode(latent))
    return torch.cat(out)


def sheet(rows, path):
    """Rows of pictures to one PNG."""
    grid = torch.cat([torch.cat(list(r), 2) for r in rows], 1)
    Image.fromarray((grid * 255).round().byte().permute(1, 2, 0).numpy()).save(path)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("prompt", nargs="+")
    a.add_argument("--model", default="models/lightforce-default.safetensors")
    a.add_argument("--chunks", type=int, default=3)
    a.add_argument("--seed", type=int, default=0)
    a.add_argument("--dense", action="store_true", help="attend to everything in the window")
    a.add_argument("--shown", type=int, default=6)
    a.add_argument("--out", required=True, help=".png: a contact sheet, a row for each prompt; .mp4: the first prompt")
    a = a.parse_args()
    rows = []
    for prompt in a.prompt:
        start = time.time()
        video = sample(a.model, {0: prompt}, a.chunks, a.seed, not a.dense)
        print(f"{prompt!r}: {len(video)} pictures in {time.time() - start:.1f} s, "
              f"mean {video.mean():.3f}, deviation {video.std():.3f}")
        rows.append(video[torch.linspace(0, len(video) - 1, a.shown).long()])
        if a.out.endswith(".mp4"):
            h, w = video.shape[2:]
            subprocess.run(["ffmpeg", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{w}x{h}",
                            "-r", "16", "-i", "-", "-pix_fmt", "yuv420p", a.out], check=True,
                           input=(video * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy().tobytes())
            return
    sheet(rows, a.out)


if __name__ == "__main__":
    main()
