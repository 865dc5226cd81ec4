"""Make of the packed model a folder that train.py --resume goes on from.

    python3 models/unpack.py --out DIR
"""
import argparse
import os

from safetensors.torch import load_file, save_file

HERE = os.path.dirname(os.path.abspath(__file__))


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--model", default=os.path.join(HERE, "lightforce-default.safetensors"))
    a.add_argument("--out", required=True)
    a = a.parse_args()
    os.makedirs(a.out, exist_ok=True)
    state = load_file(a.model)
    tokens = state.pop("tokenizer.model")
    save_file(dict({k: v.half() for k, v in state.items()}, **{"tokenizer.model": tokens}),
              os.path.join(a.out, "model-0.safetensors"))


if __name__ == "__main__":
    main()
