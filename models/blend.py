"""Weights between those of two runs of train.py, of which one went on from the other.

    python3 models/blend.py --from TEACH --with SPARSE --share 0.5 --out DIR

Learning from its own videos makes a model steadier and softer; half way back to where that began keeps
most of both.  Only the transformer and the text encoder change in these stages.
"""
import argparse
import glob
import os

from safetensors.torch import load_file, save_file


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--from", dest="first", required=True, help="output folder of train.py")
    a.add_argument("--with", dest="second", required=True, help="the same, of a run that resumed that one")
    a.add_argument("--share", type=float, default=0.5, help="of the second run, 0 to 1")
    a.add_argument("--out", required=True)
    a = a.parse_args()
    os.makedirs(a.out, exist_ok=True)
    files = sorted(glob.glob(os.path.join(a.first, "model-*.safetensors")))
    if not files:
        raise SystemExit(f"{a.first}: no model-*.safetensors, which train.py and unpack.py write")
    for path in files:
        one, two = load_file(path), load_file(os.path.join(a.second, os.path.basename(path)))
        out = {k: v if not v.is_floating_point() else v.float().lerp(two[k].float(), a.share).to(v.dtype)
               for k, v in one.items()}
        save_file(out, os.path.join(a.out, os.path.basename(path)))


if __name__ == "__main__":
    main()
