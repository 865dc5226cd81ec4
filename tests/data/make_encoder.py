#!/usr/bin/env python3
# lightforce: writes encoder.safetensors, what a small Wan VAE encoder makes of a picture
#
# SPDX-License-Identifier: LGPL-2.1-or-later
#
#   make_encoder.py OUT.safetensors
#
# Random weights under the published names, a picture, and its latent by the definition below, which
# needs torch and safetensors; the tests use the file it made.
import sys

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

MEAN = (-0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
        0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921)
STD = (2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
       3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160)
Z, DIM = 16, 8
g = torch.Generator().manual_seed(5)
w = {}


def conv(name, n_out, n_in, *kernel):
    fan = n_in * torch.tensor(kernel).prod().item()
    w[name + ".weight"] = (torch.randn(n_out, n_in, *kernel, generator=g) * 1.2 * fan**-0.5).bfloat16()
    w[name + ".bias"] = (torch.randn(n_out, generator=g) * 0.05).bfloat16()


def gamma(name, n, *shape):
    w[name + ".gamma"] = (1 + 0.1 * torch.randn(n, *shape, generator=g)).bfloat16()


def residual(p, n_in, n_out):
    gamma(p + "residual.0", n_in, 1, 1, 1)
    conv(p + "residual.2", n_out, n_in, 3, 3, 3)
    gamma(p + "residual.3", n_out, 1, 1, 1)
    conv(p + "residual.6", n_out, n_out, 3, 3, 3)
    if n_in != n_out:
        conv(p + "shortcut", n_out, n_in, 1, 1, 1)


def make_weights():
    """Four levels of two residual blocks; time is halved at the 2nd and 3rd reduction."""
    conv("encoder.conv1", DIM, 3, 3, 3, 3)
    i, n = 0, DIM
    for level, n_out in enumerate((DIM, 2 * DIM, 4 * DIM, 4 * DIM)):
        for _ in range(2):
            residual(f"encoder.downsamples.{i}.", n, n_out)
            n, i = n_out, i + 1
        if level < 3:
            conv(f"encoder.downsamples.{i}.resample.1", n, n, 3, 3)
            if level:
                conv(f"encoder.downsamples.{i}.time_conv", n, n, 3, 1, 1)
            i += 1
    residual("encoder.middle.0.", n, n)
    gamma("encoder.middle.1.norm", n, 1, 1)
    conv("encoder.middle.1.to_qkv", 3 * n, n, 1, 1)
    conv("encoder.middle.1.proj", n, n, 1, 1)
    residual("encoder.middle.2.", n, n)
    gamma("encoder.head.0", n, 1, 1, 1)
    conv("encoder.head.2", 2 * Z, n, 3, 3, 3)
    conv("conv1", 2 * Z, 2 * Z, 1, 1, 1)


def weight(name):
    return w[name + ".weight"].float(), w[name + ".bias"].float()


def causal(x, name):
    """Convolution over time of one frame [C, H, W] whose past is zeros."""
    k, b = weight(name)
    x = torch.cat([torch.zeros(x.shape[0], k.shape[2] - 1, *x.shape[1:]), x[:, None]], 1)
    return F.conv3d(x[None], k, b, padding=(0, k.shape[3] // 2, k.shape[4] // 2))[0, :, 0]


def plain(x, name, **how):
    return F.conv2d(x[None], *weight(name), **how)[0]


def norm(x, name):
    return F.normalize(x, dim=0) * x.shape[0] ** 0.5 * w[name + ".gamma"].float().view(-1, 1, 1)


def run_residual(x, p):
    y = causal(F.silu(norm(x, p + "residual.0")), p + "residual.2")
    y = causal(F.silu(norm(y, p + "residual.3")), p + "residual.6")
    return y + (causal(x, p + "shortcut") if p + "shortcut.weight" in w else x)


def run_attention(x, p):
    c, h, width = x.shape
    q, k, v = plain(norm(x, p + "norm"), p + "to_qkv").flatten(1).T.chunk(3, 1)
    y = (q @ k.T / c**0.5).softmax(-1) @ v
    return x + plain(y.T.reshape(c, h, width), p + "proj")


def encode(picture):
    """Picture [3, H, W] in -1 .. 1, the first of a video -> latent [Z, H/8, W/8], normalised.

    The first picture of a video is a latent of its own: nothing happens to its time.
    """
    x = causal(picture, "encoder.conv1")
    i = 0
    while any(k.startswith(f"encoder.downsamples.{i}.") for k in w):
        p = f"encoder.downsamples.{i}."
        if p + "resample.1.weight" in w:
            x = plain(F.pad(x, (0, 1, 0, 1)), p + "resample.1", stride=2)
        else:
            x = run_residual(x, p)
        i += 1
    x = run_residual(x, "encoder.middle.0.")
    x = run_attention(x, "encoder.middle.1.")
    x = run_residual(x, "encoder.middle.2.")
    x = causal(F.silu(norm(x, "encoder.head.0")), "encoder.head.2")
    mean = causal(x, "conv1")[:Z]
    return (mean - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)


make_weights()
picture = torch.randint(0, 256, (40, 56, 3), generator=g, dtype=torch.uint8)
with torch.no_grad():
    latent = encode(picture.permute(2, 0, 1) / 127.5 - 1)
tensors = {"w." + k: v for k, v in w.items()}
tensors.update({"in.picture": picture, "out.latent": latent.contiguous()})
save_file(tensors, sys.argv[1], {"case": "encoder", "config": "{}"})
