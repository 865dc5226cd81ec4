"""The procedural world: every pixel of every picture is a formula of (scene, code, time).

A clip is a discrete scene (captions.py) plus a composition code of 16 uniform
numbers: positions, phases, hill offsets, cloud placement.  Nothing else is
random, so scene + code fix the video for all time.  The world is periodic or
stationary: no stream ever ends.

It is made for a codec that turns 8x8 pixels of 4 pictures into one latent and for a
model that remembers 6 latent frames.  Things move by whole latents in a latent frame
(STRIDE), their cycles last whole latent frames, phases begin at 0 with the stream,
what a moving camera passes goes a whole or half a latent, or is too far away to move,
and what leaves on one side enters on the other at the same moment.

Units: half the picture height; x in [-1.6, 1.6], y in [-1, 1] downwards.
Shapes: scalars of a clip [B, 1 or T, 1, 1], pictures [B, T, 3, H, W] in [0, 1].
"""
import math

import torch

import actors
import captions as C

WIDTH, HEIGHT, RATE, CODES = 256, 160, 16, 16
PIXEL = 2.0 / HEIGHT
LATENT = 8 * PIXEL
STRIDE = LATENT * RATE / 4   # speed of one latent in a latent frame
(X1, PHASE1, X2, PHASE2, SIZE, FAR, NEAR, CLOUD, SUN, HORIZON, PARTICLE, CAMERA,
 OPEN_PLACE, OPEN_KIND, OPEN_COLOUR, VARIETY) = range(CODES)

# Sky at the top, sky at the horizon, light on the land: dawn, day, sunset, night.
SKY_TOP = ((.42, .55, .84), (.22, .50, .93), (.30, .25, .55), (.02, .03, .11))
SKY_LOW = ((1., .80, .70), (.78, .90, .99), (1., .56, .26), (.11, .16, .34))
LIGHT = ((.92, .80, .78), (1., 1., 1.), (.92, .64, .50), (.26, .33, .56))
SUN_COLOUR = ((1., .90, .72), (1., .98, .86), (1., .78, .42), (.95, .96, 1.))
GREY = ((.62, .66, .72), (.70, .74, .80), (.50, .46, .50), (.10, .12, .18))


def smooth(a, b, x):
    t = ((x - a) / (b - a)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def edge(distance, width=PIXEL):
    """Anti-aliased inside of a signed distance."""
    return (0.5 - distance / width).clamp(0, 1)


def fract(x):
    return x - x.floor()


def noise(i, j=0.0, period=16.0):
    """A fixed random number for every cell; periodic, so the world is finite."""
    return fract(torch.sin((i % period) * 12.9898 + (j % period) * 78.233 + 4.1) * 43758.5453)


def over(canvas, colour, alpha):
    """Paint colour [.., 3, ..] over the canvas with coverage alpha [B, T, h, w]."""
    return torch.lerp(canvas, colour.expand_as(canvas), alpha[:, :, None].expand_as(canvas))


class Scenes:
    """A batch of scenes as tensors."""

    def __init__(self, scenes, code, device):
        self.u = code.to(device)
        n = len(scenes)
        land, time, weather, camera, count = ([0] * n for _ in range(5))
        who = [[(0, 0, 0, 1)] * n for _ in range(2)]
        for i, (s, u) in enumerate(zip(scenes, code[:, [OPEN_PLACE, OPEN_KIND, OPEN_COLOUR]].tolist())):
            s = C.resolve(s, *u)
            land[i], time[i] = C.LANDSCAPES.index(s["landscape"]), C.TIMES.index(s["time"])
            weather[i], camera[i] = C.WEATHERS.index(s["weather"]), C.CAMERAS.index(s["camera"])
            count[i] = len(s["actors"])
            for j, a in enumerate(s["actors"]):
                who[j][i] = (C.KINDS.index(a["kind"]), C.COLOURS.index(a["colour"]),
                             C.MOTIONS.index(a["motion"]), a["side"])
        to = lambda x: torch.tensor(x, device=device)
        self.land, self.time, self.weather = to(land), to(time), to(weather)
        self.camera, self.count = to(camera), to(count)
        self.who = [to(w) for w in who]

    def __getitem__(self, index):
        s = object.__new__(Scenes)
        s.u, s.land, s.time, s.weather = self.u[index], self.land[index], self.time[index], self.weather[index]
        s.camera, s.count, s.who = self.camera[index], self.count[index], [w[index] for w in self.who]
        return s

    def code(self, k):
        return self.u[:, k].view(-1, 1, 1, 1)


def table(rows, index):
    """Rows of colours picked by index -> [B, 1, 3, 1, 1]."""
    return torch.tensor(rows, device=index.device)[index][:, None, :, None, None]


class View:
    """Coordinates and light of one batch at its times [B, T] in seconds."""

    def __init__(self, s, t):
        dev = t.device
        self.s, self.t = s, t[..., None, None]
        is_zoom = (s.camera == 3).view(-1, 1, 1, 1)
        side = ((s.camera == 2).float() - (s.camera == 1).float()).view(-1, 1, 1, 1)
        self.pan = side * STRIDE * self.t
        self.zoom = torch.where(is_zoom, 1.15 + 0.15 * torch.sin(2 * math.pi * self.t / 5), torch.ones_like(self.t))
        x = (torch.arange(WIDTH, device=dev) + 0.5 - WIDTH / 2) * PIXEL
        y = (torch.arange(HEIGHT, device=dev) + 0.5 - HEIGHT / 2) * PIXEL
        self.x, self.y = x.view(1, 1, 1, -1) / self.zoom, y.view(1, 1, -1, 1) / self.zoom
        self.pixel = PIXEL / self.zoom
        self.horizon = LATENT * (2 * s.code(HORIZON)).floor()
        self.wet = (s.weather >= 2).float().view(-1, 1, 1, 1, 1)
        self.night = (s.time == 3).float().view(-1, 1, 1, 1)
        # Rain darkens, falling snow brightens.
        self.tone = torch.tensor([1., 1., 0.86, 1.12], device=dev)[s.weather].view(-1, 1, 1, 1, 1)
        self.light = table(LIGHT, s.time) * torch.where(self.wet > 0, self.tone - 0.1, self.tone)
        self.sun_x = (s.code(SUN) - 0.5) * 2.2
        height = torch.tensor([0.16, 0.62, 0.12, 0.66], device=dev)[s.time].view(-1, 1, 1, 1)
        self.sun_y = self.horizon - height
        veil = 0.75 * self.wet + 0.2 * (s.weather == 1).float().view(-1, 1, 1, 1, 1)
        self.low = torch.lerp(table(SKY_LOW, s.time), table(GREY, s.time) * 1.1 * self.tone, veil).clamp(max=1)
        self.top = torch.lerp(table(SKY_TOP, s.time), table(GREY, s.time) * self.tone, veil).clamp(max=1)

    def scroll(self, depth):
        """World column of each pixel column at parallax `depth` (1: the foreground)."""
        return self.x + self.pan * depth


# -------------------------------------------------------------------------- sky
def sky(v):
    up = ((v.horizon - v.y) / 1.0).clamp(0, 1) ** 0.7
    canvas = torch.lerp(v.low, v.top, up[:, :, None]).expand(-1, v.t.shape[1], -1, -1, WIDTH).contiguous()
    dim = 1 - 0.85 * v.wet[..., 0]
    dx, dy = v.x - v.sun_x, v.y - v.sun_y
    far = dx * dx + dy * dy
    glow = (0.55 * torch.exp(-far / 0.08) + 0.25 * torch.exp(-far / 0.6)) * dim * (1 - 0.55 * v.night)
    sun = table(SUN_COLOUR, v.s.time)
    canvas = over(canvas, sun, glow.clamp(0, 1))
    disc = edge(far.sqrt() - 0.13, v.pixel * 1.5)
    bite = edge(((dx + 0.06) ** 2 + (dy + 0.03) ** 2).sqrt() - 0.115, v.pixel * 1.5)
    return over(canvas, sun, disc * (1 - bite * v.night) * dim)


def stars(canvas, v):
    """One star in each cell of a lattice."""
    size = 0.17
    x, y = v.x / size, (v.y + 1) / size
    i, j = x.floor(), y.floor()
    a, b = noise(i, j), noise(i + 7, j + 3)
    d = (x - i - 0.2 - 0.6 * a) ** 2 + (y - j - 0.2 - 0.6 * b) ** 2
    twinkle = 0.75 + 0.25 * torch.sin(2 * math.pi * (v.t / 2.5 + a + b))
    bright = torch.exp(-d / (0.004 + 0.008 * a)) * twinkle * (0.5 + 0.5 * b)
    fade = ((v.horizon - v.y) * 3).clamp(0, 1)
    colour = torch.tensor([1., .98, .9], device=canvas.device).view(1, 1, 3, 1, 1)
    return over(canvas, colour, (bright * fade).clamp(0, 1))


def clouds(canvas, v):
    """One heap of round puffs on a flat base in most cells of a row, lit from above; the wind takes them
    half a latent in a latent frame."""
    size = 8 * LATENT
    x = v.x + STRIDE / 2 * v.t + (v.s.code(CLOUD) * 64).floor() * LATENT
    i = (x / size).floor()
    a, b, c = (noise(i, j, 8.0) for j in (1.0, 5.0, 3.0))
    dx, up = x - (i + 0.5) * size, v.horizon - LATENT * (4 + (4 * a).floor()) - v.y
    puffs = ((-0.20, 0.02, 0.09 + 0.03 * b), (-0.04, 0.08, 0.12 + 0.04 * a), (0.12, 0.05, 0.13), (0.24, 0.01, 0.08))
    d = torch.stack([((dx - px) ** 2 + (up - py) ** 2).sqrt() - r for px, py, r in puffs]).amin(0)
    alpha = edge(torch.maximum(d, -up), v.pixel * 3) * (c > 0.2)
    light = torch.lerp(v.light, torch.ones_like(v.light), 0.25)
    shade = (0.72 + 1.6 * up).clamp(0.72, 1.0)
    return over(canvas, (light * shade[:, :, None]).clamp(0, 1), alpha)


# ------------------------------------------------------------------- landscapes
def colour3(*rgb):
    return lambda v: torch.tensor(rgb, device=v.t.device).view(1, 1, 3, 1, 1)


def ridge(canvas, v, top, slope, lit, dark, haze, fall=1.2):
    """One range of hills below the line `top` [B, T, 1, W]; sunny and shadow side by its slope."""
    below = v.y - top
    side = slope * torch.tanh((v.sun_x - v.x) * 1.5)
    sun = (0.5 + 0.5 * torch.tanh(side * 2.0) - below * fall).clamp(0, 1)
    colour = torch.lerp(dark(v), lit(v), sun[:, :, None]) * v.light
    colour = torch.lerp(colour, v.low, haze)
    return over(canvas, colour, edge(-below, v.pixel))


def waves(x, parts):
    """Sum of sines and its derivative: parts of (amplitude, frequency, phase)."""
    y = sum(a * torch.sin(f * x + p) for a, f, p in parts)
    return y, sum(a * f * torch.cos(f * x + p) for a, f, p in parts)


def landmarks(canvas, v, foot, paint):
    """Something in front in each ten latents, two sizes in turns, `foot` below the horizon: it goes with the camera,
    and shows so also where all else is far, dark or white.  paint(canvas, v, x, up, size): x from its middle, up
    from its foot."""
    cell = 10 * LATENT
    x = v.scroll(1.0) + (v.s.code(NEAR) * 20).floor() * LATENT
    k = (x / cell).floor()
    odd = k % 2
    return paint(canvas, v, x - (k + 0.5 - 0.1 * odd) * cell, v.horizon + foot + odd * LATENT - v.y, 0.9 + 0.3 * odd)


def boulder(dark, lit):
    def paint(canvas, v, x, up, size):
        d = ((x / 1.5) ** 2 + up ** 2).sqrt() - 0.13 * size
        return solid(canvas, v, torch.maximum(d, -up), up / (0.13 * size), dark, lit)
    return paint


def fir(canvas, v, x, up, size):
    height = 0.34 * size
    return solid(canvas, v, conifer(x, up, 0.11 * size, height), up / height, (.07, .20, .17), (.24, .40, .34))


def rock(canvas, v, x, up, size):
    """With foam around it."""
    foam = ((x / 2.4) ** 2 + (up * 2.2) ** 2).sqrt() - 0.12 * size
    canvas = over(canvas, colour3(.95, .97, 1.)(v) * (0.3 + 0.7 * v.light), edge(foam, v.pixel * 1.5) * 0.85)
    d = ((x / 1.4) ** 2 + (up * 0.9) ** 2).sqrt() - 0.14 * size
    return solid(canvas, v, torch.maximum(d, -up), up / (0.15 * size), (.16, .16, .19), (.46, .46, .48))


def street_tree(canvas, v, x, up, size):
    trunk = torch.maximum(x.abs() - 0.018, torch.maximum(up - 0.2, -up))
    crown = (x ** 2 + (up - 0.26) ** 2).sqrt() - 0.12 * size
    return solid(canvas, v, torch.minimum(trunk, crown), (up - 0.1) / 0.3, (.10, .22, .10), (.32, .54, .22))


def solid(canvas, v, distance, height, dark, lit):
    """A shape lit from above."""
    colour = torch.lerp(colour3(*dark)(v), colour3(*lit)(v), height.clamp(0, 1)[:, :, None]) * v.light
    return over(canvas, colour, edge(distance, v.pixel))


def hills(canvas, v):
    far, near = v.s.code(FAR) * 6.283, v.s.code(NEAR) * 6.283
    layers = (
        (0.0, -0.10, ((.13, 1.3, far), (.06, 2.9, far * 2)), (.46, .66, .52), (.34, .53, .47), 0.45),
        (0.5, 0.06, ((.11, 1.7, near), (.05, 3.7, near * 2 + 1)), (.45, .70, .32), (.27, .50, .26), 0.18),
        (1.0, 0.30, ((.05, 1.1, near + 2), (.02, 2.7, far)), (.50, .76, .30), (.30, .58, .22), 0.0))
    for depth, base, parts, lit, dark, haze in layers:
        x = v.scroll(depth)
        y, slope = waves(x, parts)
        canvas = ridge(canvas, v, v.horizon + base - y, slope, colour3(*lit), colour3(*dark), haze, 0.9)
        if depth == 0.5:
            canvas = trees(canvas, v, x, v.horizon + base, parts, round_top=True)
    return landmarks(canvas, v, 0.6, boulder((.52, .50, .50), (.92, .90, .86)))


def conifer(x, up, width, height):
    """Signed distance of three tiers of branches from the foot at (0, 0) to the top."""
    tier = fract((up / height * 3).clamp(0, 2.999))
    side = x.abs() - width * (1.05 - up / height) * (1.0 - 0.35 * tier)
    return torch.maximum(side, torch.maximum(up - height, -up))


def trees(canvas, v, x, base, parts, round_top):
    """A tree in some cells along a ridge."""
    cell = 0.34
    k = (x / cell).floor()
    r = noise(k, 5.0, 12.0)
    cx = (k + 0.3 + 0.4 * noise(k, 9.0, 12.0)) * cell
    foot = base - waves(cx, parts)[0] + 0.03
    size = 0.07 + 0.05 * r
    dx, dy = x - cx, foot - v.y
    if round_top:
        shape = ((dx / 0.9) ** 2 + (dy - size * 1.5) ** 2).sqrt() - size
        shape = torch.minimum(shape, torch.maximum(dx.abs() - 0.012, (dy - size).abs() - size))
        lit, dark = (.36, .62, .24), (.14, .36, .16)
    else:
        shape = conifer(dx, dy, size, size * 3.2)
        lit, dark = (.42, .58, .52), (.10, .27, .24)
    side = (0.5 + (dx / (size + 0.02)) * 0.5 * torch.tanh((v.sun_x - v.x) * 1.5)).clamp(0, 1) * (dy / 0.2).clamp(0.2, 1)
    colour = torch.lerp(colour3(*dark)(v), colour3(*lit)(v), side[:, :, None]) * v.light
    return over(canvas, colour, edge(shape, v.pixel) * (r > 0.35))


def sea(canvas, v):
    # Islands on the horizon show that the camera moves.
    far = v.s.code(FAR) * 6.283
    y, slope = waves(v.scroll(0.5), ((.12, 1.6, far), (.05, 4.3, far)))
    canvas = ridge(canvas, v, v.horizon + 0.03 - y, slope, colour3(.42, .62, .50), colour3(.26, .42, .40), 0.25)
    below = v.y - v.horizon
    depth = 1.0 / (below.clamp(min=0) + 0.07)
    x = v.scroll(1.0) + v.s.code(NEAR) * 6.283
    swell = torch.sin(x * depth * 0.55 + 2.0 * torch.sin(depth * 1.5 + v.t * 0.7) + v.t * 0.5)
    ripple = torch.sin(depth * 9.0 - x * depth * 0.35 + v.t * 1.9 + swell)
    crest = (swell * 0.5 + ripple * 0.5)
    shine = smooth(0.45, 0.95, crest)
    water = torch.lerp(colour3(.08, .42, .66)(v), colour3(.03, .22, .44)(v), (below.clamp(0, 1))[:, :, None])
    water = water * v.light * (1 + 0.18 * crest[:, :, None])
    water = torch.lerp(water, v.low, (0.55 * torch.exp(-below.clamp(min=0) * 6))[:, :, None])
    water = torch.lerp(water, v.low, (0.35 * shine)[:, :, None])
    column = torch.exp(-((v.x - v.sun_x) / (0.12 + 0.25 * below.clamp(min=0))) ** 2)
    glitter = column * smooth(-0.1, 0.7, crest) * (0.75 * (1 - 0.9 * v.wet[..., 0]))
    water = torch.lerp(water, table(SUN_COLOUR, v.s.time), glitter[:, :, None])
    canvas = over(canvas, water, edge(-below, v.pixel).expand(-1, v.t.shape[1], -1, WIDTH))
    return landmarks(canvas, v, 0.6, rock)


def desert(canvas, v):
    far, near = v.s.code(FAR) * 6.283, v.s.code(NEAR) * 6.283
    layers = ((0.0, -0.02, .10, 1.9, far, (.93, .76, .52), (.76, .56, .40), 0.35),
              (0.5, 0.14, .12, 1.4, near, (.95, .75, .44), (.72, .48, .30), 0.12),
              (1.0, 0.36, .06, 1.0, near + 2, (.96, .78, .48), (.80, .58, .34), 0.0))
    for depth, base, amp, f, p, lit, dark, haze in layers:
        x = v.scroll(depth)
        a = f * x + p
        # A dune leans: its phase runs ahead of itself.
        y, slope = amp * torch.sin(a + 0.7 * torch.sin(a)), amp * f * torch.cos(a + 0.7 * torch.sin(a)) * 2
        canvas = ridge(canvas, v, v.horizon + base - y, slope, colour3(*lit), colour3(*dark), haze, 0.5)
        if depth == 0.5:
            canvas = cacti(canvas, v, x)
    below = (v.y - v.horizon - 0.3).clamp(min=0)
    ripple = torch.sin(60 * below / (0.35 + below) + 3 * torch.sin(v.scroll(1.0) * 2 + near))
    canvas = over(canvas, v.light * 0.25, (below > 0) * 0.10 * (0.5 + 0.5 * ripple))
    return landmarks(canvas, v, 0.6, boulder((.20, .14, .13), (.50, .38, .33)))


def cacti(canvas, v, x):
    """A cactus in some cells, on the flank of the middle dune."""
    cell = 0.6
    k = (x / cell).floor()
    r = noise(k, 7.0, 12.0)
    dx, dy = x - (k + 0.35 + 0.3 * r) * cell, v.horizon + 0.24 - v.y
    size = 0.16 + 0.08 * r
    stem = (dx ** 2 + (dy - dy.clamp(min=0.0).minimum(size)) ** 2).sqrt() - 0.026
    arm = ((dx.abs() - 0.075) ** 2 + (dy - dy.clamp(min=0.09, max=0.14)) ** 2).sqrt() - 0.018
    elbow = torch.maximum(dx.abs() - 0.075, (dy - 0.09).abs() - 0.016)
    shape = torch.minimum(stem, torch.minimum(arm, elbow))
    return over(canvas, colour3(.25, .48, .26)(v) * v.light, edge(shape, v.pixel) * (r > 0.3))


def triangle(x):
    return 1 - 2 * (fract(x) - 0.5).abs() * 2


def snow(canvas, v):
    far, near = v.s.code(FAR), v.s.code(NEAR) * 6.283
    for shift, base, amp, f, haze in ((1.25, -0.08, .20, .42, 0.42), (1.45, 0.04, .17, .60, 0.15)):
        x = v.x * f + far * shift
        y = amp * (triangle(x) + 0.45 * triangle(x * 2.3 + 0.2))
        slope = torch.where(fract(x) < 0.5, 1.0, -1.0) * torch.ones_like(y)
        top = v.horizon + base - y
        canvas = ridge(canvas, v, top, slope, colour3(.97, .98, 1.), colour3(.60, .70, .86), haze, 0.35)
    x = v.scroll(0.5)
    parts = ((.05, 1.5, near), (.02, 3.1, near * 2))
    y, slope = waves(x, parts)
    canvas = ridge(canvas, v, v.horizon + 0.16 - y, slope, colour3(.95, .97, 1.), colour3(.78, .84, .95), 0.1, 0.3)
    canvas = trees(canvas, v, x, v.horizon + 0.16, parts, round_top=False)
    y, slope = waves(v.scroll(1.0), ((.04, 1.2, near + 1),))
    canvas = ridge(canvas, v, v.horizon + 0.38 - y, slope, colour3(1., 1., 1.), colour3(.84, .89, .97), 0.0, 0.2)
    return landmarks(canvas, v, 0.7, fir)


def city(canvas, v):
    """Two rows of houses; walls and windows keep to the grid of latents, so that fronts stay sharp."""
    dark = (v.s.time.view(-1, 1, 1, 1) >= 2).float()
    u = LATENT
    for depth, cell, low, high, body, haze, seed in (
            (0.0, 3 * u, 5, 4, (.56, .62, .72), 0.45, 2.0), (0.5, 5 * u, 3, 5, (.46, .44, .50), 0.08, 6.0)):
        near = seed == 6.0
        x = v.scroll(depth) + (v.s.code(NEAR if near else FAR) * 8).floor() * u
        k = (x / cell).floor()
        r, r2 = noise(k, seed, 12.0), noise(k, seed + 1, 12.0)
        inside = x - k * cell
        top = v.horizon + (2 - low - (high * r).round()) * u
        wall = torch.maximum(top - v.y, inside - cell + u / 4) if near else top - v.y
        tone = torch.tensor(body, device=x.device).view(1, 1, 3, 1, 1) * (0.75 + 0.5 * r2)[:, :, None]
        colour = torch.lerp(tone * v.light, v.low, haze)
        alpha = edge(wall, v.pixel)
        canvas = over(canvas, colour, alpha)
        if near:
            wx, wy = inside / u, (v.y - top) / u
            pane = torch.maximum((fract(wx) - 0.5).abs() - 0.27, (fract(wy) - 0.5).abs() - 0.30) * u
            frame = (wx < 4.5) * (wy > 0.5)
            lit = (noise(k * 5 + wx.floor(), wy.floor() + seed, 24.0) > 0.45) * dark
            glass = torch.lerp(torch.lerp(v.top, v.low, 0.5) * 0.8, colour3(1., .86, .5)(v), lit[:, :, None] * 0.9)
            canvas = over(canvas, glass, alpha * edge(pane, v.pixel) * frame * 0.85)
    below = v.y - v.horizon - 0.2
    x = v.scroll(1.0)
    ground = torch.lerp(colour3(.62, .61, .60)(v), colour3(.36, .37, .40)(v), smooth(0.10, 0.12, below)[:, :, None])
    canvas = over(canvas, ground * v.light, edge(-below, v.pixel).expand(-1, v.t.shape[1], -1, WIDTH))
    dash = torch.maximum((fract(x / 0.8) - 0.5).abs() * 0.8 - 0.2, (below - 0.5).abs() - 0.025)
    canvas = over(canvas, colour3(.95, .93, .80)(v) * v.light, edge(dash, v.pixel))
    return landmarks(canvas, v, 0.25, street_tree)


LAND = (sea, hills, desert, snow, city)


# ---------------------------------------------------------------- rain and snow
def rain(canvas, v):
    """Streaks that fall by their own distance in a latent frame: every latent frame of rain is alike."""
    for size, length, strength in ((0.13, 0.65, 0.55), (0.09, 0.45, 0.40)):
        x = (v.x + v.y * 0.12) / size
        i = x.floor()
        r = noise(i, 3.0)
        y = v.y / length - 4 * v.t + noise(i, 9.0)
        streak = torch.maximum((x - i - 0.2 - 0.6 * r).abs() * size - 0.005,
                               ((fract(y) - 0.5).abs() - 0.22) * length)
        colour = colour3(.85, .90, 1.)(v) * (0.4 + 0.6 * v.light)
        canvas = over(canvas, colour, edge(streak, v.pixel) * strength)
    return canvas


def snowfall(canvas, v):
    """Columns of flakes that repeat after 3 latent frames, within the model's memory."""
    for size, radius in ((0.36, 0.030), (0.24, 0.020)):
        i = (v.x / size).floor()
        y = v.y / size - v.t / 0.75 + noise(i, 5.0)
        a, b = noise(i, 8.0), noise(i + 3, 2.0)
        dx, dy = v.x / size - i - 0.2 - 0.6 * a, fract(y) - 0.3 - 0.4 * b
        d = (dx ** 2 + dy ** 2).sqrt() * size - radius
        colour = colour3(1., 1., 1.)(v) * (0.45 + 0.55 * v.light)
        canvas = over(canvas, colour, edge(d, v.pixel * 1.6) * 0.92)
    return canvas


# ----------------------------------------------------------------------- render
def subset(canvas, mask, paint, s, t):
    """Paint only the clips that need it."""
    index = mask.nonzero()[:, 0]
    if len(index):
        canvas[index] = paint(canvas[index], View(s[index], t[index]))


@torch.no_grad()
def render(s, t):
    """Scenes and times [B, T] (seconds) -> pictures [B, T, 3, HEIGHT, WIDTH] in [0, 1]."""
    canvas = sky(View(s, t))
    subset(canvas, (s.time == 3) & (s.weather < 2), stars, s, t)
    subset(canvas, s.weather == 1, clouds, s, t)
    for k, paint in enumerate(LAND):
        subset(canvas, s.land == k, paint, s, t)
    canvas = actors.paint(canvas, s, t)
    subset(canvas, s.weather == 2, rain, s, t)
    subset(canvas, s.weather == 3, snowfall, s, t)
    return canvas.clamp_(0, 1)
