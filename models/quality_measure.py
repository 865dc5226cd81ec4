"""What bench/quality measures on pictures [B, N, 3, H, W] in [0, 1]."""
import math

import torch
import torch.nn.functional as F

LUMA = (0.299, 0.587, 0.114)


def luma(video):
    return (video.float() * torch.tensor(LUMA, device=video.device).view(3, 1, 1)).sum(2)


def psnr(a, b):
    """Mean over pictures of each clip, in dB [B]; equal pictures count as 60 dB."""
    error = (a.float() - b.float()).pow(2).mean((2, 3, 4)).clamp(min=1e-6)
    return (-10 * torch.log10(error)).mean(1)


def ssim(a, b):
    """Structural similarity of the luma, Gaussian window of 11, mean over pictures of each clip [B]."""
    x = torch.arange(11, device=a.device).float() - 5
    g = torch.exp(-x * x / (2 * 1.5 ** 2))
    g = g / g.sum()

    def blur(y):
        return F.conv2d(F.conv2d(y, g.view(1, 1, -1, 1)), g.view(1, 1, 1, -1))

    shape = a.shape[:2]
    x, y = (luma(v).flatten(0, 1)[:, None] for v in (a, b))
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx * mx, blur(y * y) - my * my, blur(x * y) - mx * my
    c1, c2 = 0.01 ** 2, 0.03 ** 2
    s = (2 * mx * my + c1) * (2 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return s.mean((1, 2, 3)).view(shape).mean(1)


def flicker(video):
    """(255 - mean absolute difference of neighbouring pictures) / 255 of each clip [B]; 1 is a still picture."""
    video = video.float()
    return 1 - (video[:, 1:] - video[:, :-1]).abs().mean((1, 2, 3, 4))


def flow(video, gap=3, reach=6, block=8, rate=16):
    """Mean block motion of each clip [B], in pixels a second.

    Full search on the luma at half size: blocks of 8, up to 6 in each direction, pictures `gap` apart.  A longer
    move must win by a little, so that flat blocks stand still.
    """
    b, n = video.shape[:2]
    if n <= gap:
        gap = n - 1
    y = F.avg_pool2d(luma(video), 2)
    at = torch.arange(0, n - gap, gap, device=video.device)
    old, new = y[:, at].flatten(0, 1)[:, None], y[:, at + gap].flatten(0, 1)[:, None]
    h, w = old.shape[-2:]
    wide = F.pad(old, (reach,) * 4, mode="replicate")
    best = length = None
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            size = math.hypot(dx, dy)
            cost = F.avg_pool2d((wide[..., reach + dy:reach + dy + h, reach + dx:reach + dx + w] - new).abs(), block)
            cost = cost + 0.0006 * size
            if best is None:
                best, length = cost, torch.full_like(cost, size)
            else:
                length = torch.where(cost < best, size, length)
                best = torch.minimum(best, cost)
    return length.mean((1, 2, 3)).view(b, -1).mean(1) * 2 * rate / gap


def level(video):
    """Mean and standard deviation of the pictures of each clip, [B] each, on a scale of 255."""
    video = video.float()
    return video.mean((1, 2, 3, 4)) * 255, video.std((2, 3, 4)).mean(1) * 255


class Drift:
    """Figures over time of long streams, a part of `seconds` at a time."""

    def __init__(self, seconds=10, rate=16):
        self.size, self.rate, self.rows = seconds * rate, rate, []
        self.rest = None

    def add(self, video):
        """The next pictures of every stream."""
        self.rest = video if self.rest is None else torch.cat([self.rest, video], 1)
        while self.rest.shape[1] >= self.size:
            part, self.rest = self.rest[:, :self.size], self.rest[:, self.size:]
            self.measure(part)

    def finish(self):
        """Measure a last part, unless it is a short remainder."""
        if self.rest is not None and self.rest.shape[1] >= max(8, 0 if not self.rows else self.size // 2):
            self.measure(self.rest)
        self.rest = None
        return self.rows

    def measure(self, part):
        mean, deviation = level(part)
        self.rows.append(dict(mean=mean.tolist(), deviation=deviation.tolist(), flicker=flicker(part).tolist(),
                              flow=flow(part).tolist()))


def change(rows, name):
    """Mean over streams of the absolute change from the first part to the last."""
    first, last = rows[0][name], rows[-1][name]
    return sum(abs(a - b) for a, b in zip(first, last)) / len(first)


def average(values):
    values = list(values)
    return sum(values) / len(values)
