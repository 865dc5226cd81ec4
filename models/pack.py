"""Pack a trained model into the one file that lightforcesrc loads.

    python3 models/pack.py --from DIR --out models/lightforce-default.safetensors
"""
import argparse
import glob
import json
import os

import torch
from safetensors.torch import load_file, save_file

import nets
import tokenizer

DESCRIPTION = ("Small Wan-shaped causal video model trained on procedurally rendered scenes: landscapes, "
               "time of day, weather and one or two coloured things in motion.")


def metadata():
    c = nets.CONFIG
    return json.dumps(dict(
        format=1, name="lightforce-default", license="LGPL-2.1-or-later", description=DESCRIPTION,
        transformer=c["transformer"], text_encoder=c["text_encoder"], decoder=dict(kind="tiny"),
        sampling=c["sampling"], cache=c["cache"], sparse=c["sparse"], video=c["video"]))


def pack(parts, spm_model, path):
    """parts: {"transformer": state dict, "text_encoder": ..., "decoder": ..., "encoder": ...}."""
    # Latents are what the encoder says: it stays as training saved it, which may go on from here.
    dtype = lambda part: torch.float16 if part == "encoder" else torch.bfloat16
    tensors = {f"{part}.{name}": value.detach().to("cpu", dtype(part)).contiguous()
               for part, weights in parts.items() for name, value in weights.items()}
    tensors["tokenizer.model"] = torch.frombuffer(bytearray(spm_model), dtype=torch.uint8)
    temporary = path + ".new"
    save_file(tensors, temporary, {"lightforce": metadata()})
    os.chmod(temporary, 0o644)
    os.replace(temporary, path)


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--from", dest="source", help="a train.py output; without it, random weights")
    a.add_argument("--out", required=True)
    a = a.parse_args()
    if a.source:
        state = {}
        for name in sorted(glob.glob(os.path.join(a.source, "model-*.safetensors"))):
            state.update(load_file(name))
        parts = {p: {k[len(p) + 1:]: v for k, v in state.items() if k.startswith(p + ".")}
                 for p in ("transformer", "text_encoder", "decoder", "encoder")}
        spm_model = bytes(state["tokenizer.model"].tolist())
    else:
        torch.manual_seed(0)
        spm_model = tokenizer.train()
        vocab = tokenizer.Tokenizer(spm_model, 64).sp.vocab_size()
        transformer, text, encoder, decoder = nets.build(vocab)
        parts = dict(transformer=transformer.state_dict(), text_encoder=text.state_dict(),
                     decoder=decoder.state_dict(), encoder=encoder.state_dict())
    pack(parts, spm_model, a.out)
    print(f"{a.out}: {os.path.getsize(a.out) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
