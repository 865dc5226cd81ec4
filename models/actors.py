"""The things that move: where they are at a time, and how each kind looks.

Each actor is painted in a small window around it, in its own coordinates: the
unit circle is its size, y points down.
"""
import math

import torch

import captions as C
import world as W

RGB = {"red": (.90, .13, .12), "orange": (.98, .52, .08), "yellow": (.99, .85, .14), "green": (.15, .68, .22),
       "blue": (.13, .34, .92), "purple": (.55, .20, .78), "pink": (.98, .46, .70), "white": (.96, .96, .96),
       "black": (.10, .10, .12), "brown": (.52, .31, .15)}
WINDOW = 96   # pixels; covers 2.5 x the largest radius at the nearest zoom
(FLOAT, BOUNCE, ROLL, DRIFT, RISE, CIRCLE, SPIN, FLAP) = range(8)
(BALL, CUBE, RING, STAR, BALLOON, BOAT, BIRD, CAR) = range(8)
GROUND = 0.60


ACROSS, ALONG = 3.8, 2.8   # a thing that has moved so far is back: sideways, upwards


def wrap(x, length):
    return x - length * torch.round(x / length)


def grid(x):
    """To the nearest corner of a latent."""
    return (x / W.LATENT).round() * W.LATENT


def pose(s, j, t):
    """Position, radius, angle, squash, facing and the phase of moving parts; all [B, T]."""
    kind, _, motion, side = (s.who[j][:, i:i + 1] for i in range(4))
    ux, up = s.u[:, (W.X1, W.X2)[j]][:, None], s.u[:, (W.PHASE1, W.PHASE2)[j]][:, None]
    two = (s.count == 2)[:, None]
    zero, side = torch.zeros_like(t), side.float()
    is_ = lambda m: motion == m
    r = torch.where(two, 0.28, 0.32) * torch.where(kind >= BALLOON, 1.1, 1.0)
    x0 = grid((ux - 0.5) * torch.where(two, 0.6, 1.8) + torch.where(two, (-0.7, 0.7)[j], 0.0))
    grounded = (kind == BOAT) | (kind == CAR)
    air = torch.where(up < 0.5, -0.4, -0.2) + 0.05 * torch.sin(2 * math.pi * t / 2.5)
    ground = torch.where(kind == BOAT, 0.42, GROUND)
    foot = GROUND - r
    x = x0 + zero
    y = torch.where(grounded, torch.where(kind == BOAT, 0.2, 0.4), air)
    angle = torch.where(kind == BOAT, 0.07 * torch.sin(2 * math.pi * t / 2.5), zero)
    squash = zero + 1
    facing = side + zero
    # Along the ground or through the air.
    x = torch.where(is_(ROLL) | is_(DRIFT), wrap(x0 + side * W.STRIDE * t, ACROSS), x)
    y = torch.where(is_(ROLL), foot, y)
    angle = torch.where(is_(ROLL), side * 2 * math.pi * t / 3.75, angle)
    # Up and away, then in again from below.
    y = torch.where(is_(RISE), wrap(0.2 - W.STRIDE * t, ALONG), y)
    # A ball's parabola, pressed flat where it meets the ground.
    beat = W.fract(t / 1.25 + 0.5)
    lift = 4 * beat * (1 - beat)
    squash = torch.where(is_(BOUNCE), 1 - 0.22 * torch.exp(-lift / 0.10), squash)
    y = torch.where(is_(BOUNCE), foot - 0.6 * lift + r * (1 - squash), y)
    turn = 2 * math.pi * t / 3.75
    x = torch.where(is_(CIRCLE), grid(x0 * 0.6) + 0.5 * torch.cos(turn), x)
    y = torch.where(is_(CIRCLE), -0.1 + 0.4 * torch.sin(turn), y)
    facing = torch.where(is_(CIRCLE), torch.where(torch.sin(turn) > 0, -1.0, 1.0), facing)
    angle = torch.where(is_(SPIN), 2 * math.pi * t / 2.5, angle)
    return dict(x=x, y=y, r=r + zero, angle=angle, squash=squash, facing=facing,
                part=t + zero, ground=ground + zero, spin=is_(SPIN) + zero)


def copies(s, j, p):
    """The pose, and where a motion leaves the picture, the pose that enters it meanwhile: (pose, mask [B])."""
    motion = s.who[j][:, 2:3]
    across, along = (motion == ROLL) | (motion == DRIFT), motion == RISE
    dx = torch.where(across, torch.where(p["x"] > 0, -ACROSS, ACROSS), 0.0)
    dy = torch.where(along, torch.where(p["y"] > 0, -ALONG, ALONG), 0.0)
    return (p, s.count > j), (dict(p, x=p["x"] + dx, y=p["y"] + dy), (s.count > j) & (across | along)[:, 0])


def near(s, t, height, width):
    """Share of each cell of a height x width grid that belongs to an actor: [B, T, height, width]."""
    view = W.View(s, t)
    y = (torch.arange(height, device=t.device) + 0.5) * 2 / height - 1
    x = ((torch.arange(width, device=t.device) + 0.5) * 2 / width - 1) * W.WIDTH / W.HEIGHT
    out = torch.zeros(*t.shape, height, width, device=t.device)
    for j in range(2):
        for p, here in copies(s, j, pose(s, j, t)):
            e = lambda k: p[k][..., None, None]
            d = torch.maximum((x / view.zoom - e("x")).abs(), (y[:, None] / view.zoom - e("y")).abs()) / e("r")
            out = torch.maximum(out, ((1.35 - d) * 3).clamp(0, 1) * here.view(-1, 1, 1, 1))
    return out


def paint(canvas, s, t):
    """Paint both actors, with soft shadows on the ground."""
    b, n, _, h, w = canvas.shape
    view = W.View(s, t)
    zoom = view.zoom[..., 0, 0].expand(b, n)
    stamps = [(j, p, here) for j in range(2) for p, here in copies(s, j, pose(s, j, t))]
    for j, p, here in stamps:
        e = lambda k: p[k][..., None, None]
        height = (e("ground") - e("y") - e("r")).clamp(min=0)
        wide = e("r") * (1.0 + 0.35 * height)
        # A thing that comes up from below has none yet.
        above = W.smooth(-0.3, 0.1, e("ground") - e("y"))
        shade = 0.42 / (1 + 2.2 * height) * (1 - 0.5 * view.night) * above * here.float().view(-1, 1, 1, 1)
        dark = torch.exp(-((view.x - e("x")) / wide) ** 2) * torch.exp(-((view.y - e("ground")) / (0.22 * wide)) ** 2)
        canvas *= (1 - shade * dark)[:, :, None]
    for j, p, here in stamps:
        kinds = torch.where(here, s.who[j][:, 0], -1)
        for k, look in enumerate(LOOKS):
            index = (kinds == k).nonzero()[:, 0]
            if len(index):
                stamp(canvas, index, {name: x[index] for name, x in p.items()}, zoom[index], view.light[index],
                      view.sun_x[index], s.who[j][index, 1], look)
    return canvas


def stamp(canvas, index, p, zoom, light, sun_x, colour, look):
    """Evaluate one look in its window, which stays inside the picture, and blend it in place."""
    b, n = p["x"].shape
    dev = canvas.device
    wide = canvas.shape[-1]
    px = p["x"] * zoom / W.PIXEL + W.WIDTH / 2
    py = p["y"] * zoom / W.PIXEL + W.HEIGHT / 2
    ox = (px - WINDOW / 2).floor().clamp(0, W.WIDTH - WINDOW)
    oy = (py - WINDOW / 2).floor().clamp(0, W.HEIGHT - WINDOW)
    grid = torch.arange(WINDOW, device=dev)
    scale = W.PIXEL / zoom / p["r"]
    x = ((ox + 0.5 - px)[..., None] + grid) * scale[..., None]
    y = ((oy + 0.5 - py)[..., None] + grid) * scale[..., None]
    rows, cols = oy.long()[..., None] + grid, ox.long()[..., None] + grid
    flat = (rows[..., :, None] * wide + cols[..., None, :]).flatten(2)
    brush = Brush(x[:, :, None, :], y[:, :, :, None], p, scale, light, sun_x, colour)
    look(brush)
    part = canvas[index].flatten(3)
    at = flat[:, :, None].expand(-1, -1, 3, -1)
    old = part.gather(3, at).unflatten(3, (WINDOW, WINDOW))
    new = old * (1 - brush.alpha[:, :, None]) + brush.rgb
    part.scatter_(3, at, new.flatten(3))
    canvas[index] = part.unflatten(3, canvas.shape[-2:])


class Brush:
    """Local coordinates of one actor and its premultiplied picture so far."""

    def __init__(self, x, y, p, scale, light, sun_x, colour):
        e = lambda k: p[k][..., None, None]
        y = y / e("squash")
        x = x * e("squash")
        c, sn = torch.cos(e("angle")), torch.sin(e("angle"))
        self.wx, self.wy = x.expand(*x.shape[:2], y.shape[2], x.shape[3]), y.expand(*y.shape[:3], x.shape[3])
        self.x, self.y = c * x + sn * y, c * y - sn * x
        self.c, self.s = c, sn
        self.facing, self.part, self.angle, self.spin = e("facing"), e("part"), e("angle"), e("spin")
        self.px = scale[..., None, None]
        # Things keep more of their own colour than the land does.
        self.light = 0.5 + 0.5 * light.clamp(min=0.3)
        lx = (sun_x * 0.6).clamp(-0.7, 0.7)
        norm = (lx ** 2 + 0.5 + 0.49) ** 0.5
        self.l = lx / norm, -0.7 / norm, 0.7 / norm
        rows = torch.tensor([RGB[c] for c in C.COLOURS], device=x.device)
        self.colour = rows[colour][:, None, :, None, None]
        self.alpha = torch.zeros_like(self.x)
        self.rgb = torch.zeros(*self.x.shape[:2], 3, *self.x.shape[2:], device=x.device)

    def fill(self, distance, colour, shade=None):
        """Paint the inside of a distance (in radii) with a colour times shade."""
        a = W.edge(distance, self.px * 1.2)
        if not torch.is_tensor(colour):
            colour = torch.tensor(colour, device=a.device).view(1, 1, 3, 1, 1)
        colour = colour * self.light
        if shade is not None:
            # Below 1 darkens, above 1 goes towards white.
            s = shade[:, :, None]
            colour = colour * s.clamp(max=1) + (1 - colour) * (s - 1).clamp(0, 1)
        self.rgb = self.rgb * (1 - a[:, :, None]) + colour * a[:, :, None]
        self.alpha = self.alpha * (1 - a) + a

    def round_shade(self, nx, ny):
        """Light on a round surface with normal (nx, ny, sqrt(..)) in picture axes."""
        nz = (1 - nx * nx - ny * ny).clamp(min=0).sqrt()
        d = (nx * self.l[0] + ny * self.l[1] + nz * self.l[2]).clamp(min=0)
        return 0.50 + 0.55 * d + 0.75 * d ** 24


def box(x, y, w, h, r=0.0):
    dx, dy = x.abs() - w + r, y.abs() - h + r
    return (dx.clamp(min=0) ** 2 + dy.clamp(min=0) ** 2).sqrt() + torch.maximum(dx, dy).clamp(max=0) - r


def length(x, y):
    return (x * x + y * y).sqrt()


def ball(b):
    stripe = 0.20 * torch.tanh(8 * torch.sin(3 * torch.atan2(b.y, b.x + 1e-6)) * length(b.x, b.y))
    b.fill(length(b.wx, b.wy) - 1, b.colour, b.round_shade(b.wx, b.wy) + stripe)


def cube(b):
    d = box(b.x, b.y, 0.82, 0.82, 0.12)
    # A bevel: each side catches the light by where it faces now.
    across = b.x.abs() > b.y.abs()
    nx, ny = torch.where(across, torch.sign(b.x), 0.0), torch.where(across, 0.0, torch.sign(b.y))
    wx, wy = b.c * nx - b.s * ny, b.s * nx + b.c * ny
    inner = W.edge(torch.maximum(b.x.abs(), b.y.abs()) - 0.58, 3 * b.px)
    side = 0.78 + 0.42 * (wx * b.l[0] + wy * b.l[1])
    b.fill(d, b.colour, torch.lerp(side, torch.full_like(side, 1.05), inner))


def ring(b):
    # A turning ring narrows; a rolling one shows its marks.
    flat = torch.where(b.spin > 0, b.c.sign() * b.c.abs().clamp(min=0.22), torch.ones_like(b.c))
    x, y = torch.where(b.spin > 0, b.wx / flat, b.x), torch.where(b.spin > 0, b.wy.expand_as(b.x), b.y)
    rad = length(x, y) + 1e-6
    k = (rad - 0.70) / 0.28
    nx, ny = torch.where(b.spin > 0, x, b.wx) / rad * k, torch.where(b.spin > 0, y, b.wy) / rad * k
    mark = 0.20 * torch.tanh(6 * torch.sin(4 * torch.atan2(y, x)))
    b.fill(((rad - 0.70).abs() - 0.28) * flat.abs(), b.colour, b.round_shade(nx.clamp(-1, 1), ny.clamp(-1, 1)) + mark)


def star(b):
    a = torch.atan2(b.x, -b.y)
    sector = 2 * math.pi / 5
    a = (a + sector / 2) % sector - sector / 2
    rad = length(b.x, b.y)
    u, v = rad * torch.sin(a.abs()), rad * torch.cos(a)
    # Edge from the tip (0, 1.05) to the notch at 36 degrees and radius 0.48.
    ex, ey = 0.48 * math.sin(sector / 2), 0.48 * math.cos(sector / 2) - 1.05
    norm = math.hypot(ex, ey)
    d = ((v - 1.05) * ex - u * ey) / norm
    facet = torch.where(torch.sin(a) > 0, 0.16, -0.04) * (1 - 0.3 * rad)
    b.fill(d - 0.03, b.colour, 0.92 + facet + 0.12 * (0.5 - b.wy).clamp(0, 1))


def balloon(b):
    y = b.wy + 0.25
    bulge = torch.where(y > 0, 1 - 0.22 * y, torch.ones_like(y))
    d = length(b.wx / bulge, y * torch.where(y > 0, 0.88, 1.0)) - 0.92
    for side in (-1, 1):
        b.fill(box(b.wx - side * 0.17, b.wy - 0.90, 0.018, 0.22), (.25, .20, .16))
    b.fill(box(b.wx, b.wy - 1.14, 0.22, 0.15, 0.05), (.55, .36, .18), 1 - 0.3 * (b.wy - 1.0).clamp(0, 1))
    gore = 0.07 * torch.sign(torch.sin(9.0 * torch.asin((b.wx / bulge / 0.95).clamp(-0.99, 0.99))))
    b.fill(d, b.colour, b.round_shade((b.wx * 0.95).clamp(-1, 1), (y * 0.9).clamp(-1, 1)) + gore)


def boat(b):
    x, y = b.x * b.facing, b.y
    b.fill(box(x, y + 0.30, 0.035, 0.88), (.42, .28, .16))
    main = torch.maximum(torch.maximum(-x - 0.62, x + 0.06), y - 0.36)
    main = torch.maximum(main, (-(x + 0.06) * 2.2 - (y + 1.12)) / 2.4)
    sail = torch.lerp(b.colour, torch.ones_like(b.colour), 0.40)
    b.fill(main, sail, 1.0 - 0.25 * (x + 0.6).clamp(0, 1) * (y + 1).clamp(0, 1))
    jib = torch.maximum(torch.maximum(0.06 - x, y - 0.36), ((x - 0.06) * 2.1 - (y + 0.92)) / 2.3)
    b.fill(jib, sail, 0.86 + 0.15 * (-y).clamp(0, 1))
    hull = torch.maximum((y - 0.72), 0.44 - y)
    hull = torch.maximum(hull, x.abs() - 0.98 + (y - 0.44) * 1.1)
    b.fill(hull - 0.02, b.colour, 1.08 - 0.7 * (y - 0.42).clamp(0, 1))
    b.fill(torch.maximum((y - 0.47).abs() - 0.03, x.abs() - 0.96), (.97, .95, .90))


def bird(b):
    x, y = b.wx * b.facing, b.wy
    beat = torch.sin(2 * math.pi * b.part / 0.5)
    b.fill(torch.maximum((y + 0.05 + (x + 0.8) * 0.15).abs() - 0.16 - (x + 0.8).abs() * 0.12, (x + 0.78).abs() - 0.26),
           b.colour, torch.full_like(y, 0.75))

    def wing(tone, lead):
        # A leaf from the shoulder to a tip that goes up and down.
        tip = torch.sin(lead + 1.1 * beat) * 1.15
        along = -(y + 0.02) / (tip + 0.25 * torch.where(tip < 0, -1.0, 1.0))
        back = 0.42 * along + x - 0.05
        wide = 0.40 * (1 - along.clamp(0, 1) ** 2)
        d = torch.maximum(back.abs() - wide, torch.maximum(-along - 0.02, along - 1) * (tip.abs() + 0.25))
        b.fill(d, b.colour, torch.full_like(y, tone))

    wing(0.66, 0.35)
    b.fill(length(x / 0.72, (y - 0.02) / 0.34) * 0.34 - 0.34, b.colour, 1.02 - 0.5 * (y - 0.05).clamp(0, 1))
    b.fill(torch.maximum((y + 0.14).abs() - 0.09 + (x - 0.80) * 0.28, torch.maximum(0.78 - x, x - 1.12)), (.98, .62, .12))
    b.fill(length(x - 0.66, y + 0.18) - 0.25, b.colour, 1.05 - 0.3 * (y + 0.2).clamp(0, 1))
    b.fill(length(x - 0.74, y + 0.23) - 0.085, (.98, .98, .98))
    b.fill(length(x - 0.76, y + 0.23) - 0.05, (.05, .05, .08))
    wing(0.86, 0.15)


def car(b):
    x, y = b.wx * b.facing, b.wy
    cabin = torch.maximum(box(x + 0.08, y + 0.24, 0.58, 0.34, 0.14), (x + 0.08).abs() - 0.40 - (y + 0.60) * 0.55)
    b.fill(cabin, b.colour, torch.full_like(y, 0.92))
    glass = torch.maximum(cabin + 0.10, (0.035 - (x + 0.10).abs()))
    b.fill(torch.maximum(glass, y + 0.02), (.72, .88, .96), 1.0 - 0.3 * (y + 0.5).clamp(0, 1))
    b.fill(box(x, y - 0.20, 1.08, 0.28, 0.16), b.colour, 1.10 - 0.55 * (y + 0.05).clamp(0, 1))
    b.fill(length((x - 0.99) / 0.8, y - 0.10) - 0.09, (1., .96, .70))
    b.fill(box(x + 1.02, y - 0.10, 0.05, 0.09, 0.02), (.85, .10, .08))
    for cx in (-0.58, 0.60):
        r = length(x - cx, y - 0.42)
        b.fill(r - 0.26, (.10, .10, .12))
        turn = b.part * 2 * math.pi   # a quarter turn in a latent frame
        spoke = 0.12 * torch.sin(4 * (torch.atan2(y - 0.42, x - cx) - turn))
        b.fill(r - 0.14, (.78, .79, .82), 0.85 + spoke)


LOOKS = (ball, cube, ring, star, balloon, boat, bird, car)
