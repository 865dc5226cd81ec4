"""Record what the plain definition makes of the shipped weights, for the tests of the C core.

    python3 models/golden.py --out tests/data/default-model.safetensors

The first three chunks of one prompt: inputs, the chosen blocks of each chunk's first pass, and
the clean latents; beside it, in default-encoder.safetensors, the latent of a picture. The weights
stay in the model: lightforce-golden takes them with --weights.
"""
import argparse
import json
import os
import random

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import captions
import reference
import tokenizer
import world

HERE = os.path.dirname(os.path.abspath(__file__))
CHUNKS = 3


def part(state, name):
    return {k[len(name) + 1:]: v.float() for k, v in state.items() if k.startswith(name + ".")}


def encoder_case(state, path):
    """A rendered picture, cut to a size that is none of the model's."""
    code = torch.rand(1, world.CODES, generator=torch.Generator().manual_seed(1))
    scenes = world.Scenes([captions.sample_test(random.Random(1))], code, "cpu")
    picture = (world.render(scenes, torch.zeros(1, 1))[0, 0, :, 56:128, 60:180] * 255).round().byte()
    latent = reference.encode_picture(part(state, "encoder"), picture / 255)
    save_file({"in.picture": picture.permute(1, 2, 0).contiguous(), "out.latent": latent.contiguous()}, path,
              {"case": "encoder", "config": "{}"})
    os.chmod(path, 0o644)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--model", default=os.path.join(HERE, "lightforce-default.safetensors"))
    a.add_argument("--prompt", default="a red ball bouncing on green hills")
    a.add_argument("--out", required=True)
    a = a.parse_args()
    torch.set_grad_enabled(False)
    with safe_open(a.model, "pt") as f:
        description = json.loads(f.metadata()["lightforce"])
    state = load_file(a.model)
    sizes, text, video = (description[k] for k in ("transformer", "text_encoder", "video"))
    tokens = tokenizer.Tokenizer(bytes(state["tokenizer.model"].tolist()), sizes["text_len"])
    ids = torch.tensor(tokens(a.prompt))
    length = int((ids != 0).sum())
    embedding = reference.t5_encode(part(state, "text_encoder"), ids, length, text["heads"],
                                    text["layers"])[:length]
    config = dict(sizes, **description["cache"], sparse=description["sparse"])
    generator = reference.Generator(part(state, "transformer"), config)
    generator.trace = []
    generator.set_text(embedding)
    source = torch.Generator().manual_seed(1)
    shape = (sizes["chunk_frames"], sizes["z"], video["height"] // 8, video["width"] // 8)
    tensors = {"in.text.0": embedding.contiguous()}
    for i in range(CHUNKS):
        noises = [torch.randn(shape, generator=source).bfloat16().float() for _ in range(4)]
        tensors.update({f"in.noise.{i}.{j}": x.bfloat16() for j, x in enumerate(noises)})
        if i == 0:
            tensors["out.first_flow"] = generator.forward(noises[0], 1000.0).contiguous()
            generator.trace.clear()
        tensors[f"out.latent.{i}"] = generator.chunk(noises).contiguous()
        for layer in range(sizes["layers"]):
            tensors[f"out.blocks.{i}.{layer}"] = generator.trace[layer].to(torch.uint8)
        generator.trace.clear()
    config.update(height=shape[2], width=shape[3], chunks=CHUNKS)
    save_file(tensors, a.out, {"case": "generator", "config": json.dumps(config)})
    os.chmod(a.out, 0o644)
    encoder_case(state, os.path.join(os.path.dirname(a.out), "default-encoder.safetensors"))
    print(f"{a.out}: {os.path.getsize(a.out) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
